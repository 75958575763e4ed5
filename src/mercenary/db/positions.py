"""Places in PostgreSQL's write-ahead log: how far a server, or a caller's last write, has got.

A commit is before the place that is asked for after it. A replica that has replayed up to there
shows it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, case, cast, func, literal_column, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.freshness import BEYOND

_TEXT: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{16}")
# In front of a page's first record there is only the page's head, so a replica that has replayed
# everything stands before the head. (The longer head of a segment's first page can't be told from
# content; such a place is passed with the next record.)
_PAGE_BYTES: Final = 8192
_HEAD_BYTES: Final = 24


class Position(NamedTuple):
    """A place: `lsn` bytes since the log began, on a timeline, which a promotion begins."""

    timeline: int
    lsn: int

    def __str__(self) -> str:
        """As it is told to callers and kept; of two texts the greater one is further on."""
        return f"{self.timeline:08x}-{self.lsn:016x}"


UNKNOWN: Final = Position((1 << 32) - 1, BEYOND)
"""Further on than any server."""


class Standpoint(NamedTuple):
    """Where a server is, and of which cluster it is one. A replica follows a primary's log."""

    cluster: int
    position: Position
    is_replica: bool


def read(text: str) -> Position | None:
    """The place that a text means; None where it is none of ours."""
    if _TEXT.fullmatch(text) is None:
        return None
    timeline, _, lsn = text.partition("-")
    return Position(int(timeline, 16), int(lsn, 16))


# What was committed is flushed before anybody sees it, unless commits aren't waited for. What was
# only inserted, such as hints on rows, may wait for the next commit for as long as it takes, and no
# replica gets it before.
_INSERTED: ColumnElement[Any] = func.pg_current_wal_insert_lsn()
_FLUSHED: ColumnElement[Any] = func.pg_current_wal_flush_lsn()
_WAITS = func.current_setting("synchronous_commit") != "off"


def visible() -> ColumnElement[int]:
    """The primary's place in bytes: whatever the statement sees was committed before."""
    lsn: ColumnElement[Any] = case((_WAITS, _FLUSHED), else_=_INSERTED)
    return cast(func.pg_wal_lsn_diff(lsn, literal_column("'0/0'")), BigInteger())


# A replica's timeline is that of what it receives, for it receives nothing that doesn't continue
# what it has. While it receives nothing, or the role may not see it (pg_read_all_stats may), it is
# that of the last checkpoint it has passed, which is late, and never early.
_STANDPOINT = text(
    """
    SELECT system_identifier, in_recovery,
      CASE WHEN in_recovery
        THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver),
                      (SELECT timeline_id FROM pg_control_checkpoint()))
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::integer
      END,
      (CASE WHEN in_recovery THEN coalesce(pg_last_wal_replay_lsn(), '0/0')
        WHEN current_setting('synchronous_commit') = 'off' THEN pg_current_wal_insert_lsn()
        ELSE pg_current_wal_flush_lsn()
      END - '0/0')::bigint
    FROM pg_control_system(), LATERAL (SELECT pg_is_in_recovery() AS in_recovery) AS here
    """
)


async def standpoint(db: AsyncConnection) -> Standpoint:
    """Where the server is: a replica's place is what it has replayed."""
    cluster, is_replica, timeline, lsn = (await db.execute(_STANDPOINT)).one()
    if not is_replica and lsn % _PAGE_BYTES == _HEAD_BYTES:
        lsn -= _HEAD_BYTES
    return Standpoint(cluster, Position(timeline, lsn), is_replica)


async def select_position(db: AsyncConnection, _: Sequence[int]) -> Mapping[int, Position]:
    """Where the primary is, under 1; nothing where the server is none (any more)."""
    here = await standpoint(db)
    return {} if here.is_replica else {1: here.position}
