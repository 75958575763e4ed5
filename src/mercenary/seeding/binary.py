"""Rows in the binary format of COPY (PostgreSQL's documentation, COPY, «Binary Format»).

For the three tables that get nearly all rows: no datetime or decimal has to be made only to be
taken apart again, and bytes pass cheaply from the process that makes them to the one that sends.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct, pack
from typing import Final

from mercenary.seeding.population import EPOCH

# A field without a value.
NULL: Final = pack("!i", -1)
HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
# What PostgreSQL counts microseconds from, as our epoch's distance.
EPOCH_MICROSECONDS: Final = (EPOCH - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

_PROJECT: Final = Struct("!h iq iq iq iq ii ii".replace(" ", "")).pack
_PROJECT_SKILL: Final = Struct("!h iq iq".replace(" ", "")).pack
_PROPOSAL: Final = Struct("!h iq iq iq iq iq ii ii".replace(" ", "")).pack


def text(value: str) -> bytes:
    """A field of text."""
    encoded = value.encode()
    return len(encoded).to_bytes(4, "big") + encoded


@lru_cache(maxsize=1 << 16)
def numeric(value: int) -> bytes:
    """A field of whole money above zero: digits to the base of 10,000, the highest first."""
    digits = []
    while value:
        value, digit = divmod(value, 10_000)
        digits.append(digit)
    weight = len(digits) - 1
    digits.reverse()
    count = len(digits)
    return pack(f"!ihhhh{count}h", 8 + 2 * count, count, weight, 0, 2, *digits)


def project(
    id: int, client_id: int, created: int, updated: int, version: int, proposal_count: int
) -> bytes:
    """The fixed part of a row as `PROJECT_COLUMNS`; times are microseconds after the epoch.

    The fields of text and money follow it.
    """
    created += EPOCH_MICROSECONDS
    updated += EPOCH_MICROSECONDS
    return _PROJECT(13, 8, id, 8, client_id, 8, created, 8, updated, 4, version, 4, proposal_count)


def project_skill(project_id: int, skill_id: int) -> bytes:
    """A row of (project_id, skill_id)."""
    return _PROJECT_SKILL(2, 8, project_id, 8, skill_id)


def proposal(
    id: int,
    project_id: int,
    freelancer_id: int,
    created: int,
    updated: int,
    version: int,
    days: int,
) -> bytes:
    """The fixed part of a row as `PROPOSAL_COLUMNS`; times are microseconds after the epoch.

    The fields of text and money follow it.
    """
    created += EPOCH_MICROSECONDS
    updated += EPOCH_MICROSECONDS
    return _PROPOSAL(
        11, 8, id, 8, project_id, 8, freelancer_id, 8, created, 8, updated, 4, version, 4, days
    )
