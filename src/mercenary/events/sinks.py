"""Whom the relay hands rows to. `cli/relay.py` lists those that there are.

A sink is given rows in the order of their ids, at least once each: when a relay dies between
handing on and its COMMIT, the next one hands the same rows on again. So

- what a sink does must be idempotent. What it writes by the handover's own transaction happens
  exactly once, when all sinks have taken the rows: the way to move them into a table of its own;
- it is bounded in time by what the relay grants all sinks together, half a turn. What may take
  longer (another service over the network) belongs into such a table;
- whatever it raises keeps the rows, and all sinks are given them again. What must be done though
  another sink can't take them is committed by the sink itself, and what may be lost is caught.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.outbox import Row


class Handover(NamedTuple):
    """What a relay hands on at once, one row at least.

    `tx` is the transaction that deletes the rows. `since` is a moment of `time.monotonic()`: all
    that was committed before is among the rows, or was handed on earlier; None while there is more.
    `lsn` is a place in PostgreSQL's log before which the rows were committed.
    """

    tx: AsyncConnection
    rows: Sequence[Row]
    since: float | None
    lsn: int | None = None


class Sink(ABC):
    """Somebody who acts on what has changed."""

    name: str

    @abstractmethod
    async def take(self, handover: Handover) -> None:
        """Act on the rows, which are gone once this and the other sinks have returned."""

    async def rest(self, since: float, lsn: int) -> None:  # noqa: B027 - most have nothing to do
        """Hear that all that was committed before `since` was handed on; there is nothing new.

        All of it was committed before the place `lsn` in PostgreSQL's log.
        """


class Announces(Protocol):
    """What tells the caches of every host (`cache/announcer.py`)."""

    async def announce(
        self,
        told: Sequence[tuple[int, Sequence[str]]],
        *,
        since: float | None,
        begun: Sequence[float] = (),
        lsn: int | None = None,
    ) -> None:
        """Announce changes, when each began, and up to when all of them have been announced.

        They were committed before the place `lsn` in PostgreSQL's log.
        """


class Caches(Sink):
    """The caches of every host. They live on the word that they have heard of everything."""

    name = "caches"

    def __init__(self, announcer: Announces) -> None:
        self._announcer = announcer

    async def take(self, handover: Handover) -> None:
        """Announce the tags of each change.

        Raises:
            ValkeyAway: nobody may have heard.
        """
        now = time.time()
        told: dict[int, dict[str, None]] = {}
        begun: dict[int, float] = {}
        for row in handover.rows:
            if row.event.tags:
                told.setdefault(row.stamp, {}).update(dict.fromkeys(row.event.tags))
                begun.setdefault(row.stamp, now - row.age)
        changes = [(stamp, list(tags)) for stamp, tags in told.items()]
        await self._announcer.announce(
            changes, since=handover.since, begun=list(begun.values()), lsn=handover.lsn
        )

    async def rest(self, since: float, lsn: int) -> None:
        """Give the word.

        Raises:
            ValkeyAway: nobody may have heard.
        """
        await self._announcer.announce([], since=since, lsn=lsn)
