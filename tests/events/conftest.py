"""An outbox to fill, and sinks that note what they are handed."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import asyncpg
import msgspec
import pytest

from mercenary import settings
from mercenary.db.engine import Database
from mercenary.db.outbox import Row
from mercenary.events.relay import Relay, database_for
from mercenary.events.sinks import Handover, Sink
from tests.db.conftest import connected

FILL = """
    INSERT INTO outbox (id, key, stamp, version, name, subject, tags)
    SELECT nextval('outbox_id_seq'), n, n, 1, 'project.updated', 'project:' || n,
           'project:' || n || ' projects'
    FROM generate_series(1, $1::integer) n
"""


class Recording(Sink):
    """Notes what it is handed; `fault` is what it raises instead, or does first."""

    name = "recording"

    def __init__(self) -> None:
        self.handed: list[Sequence[Row]] = []
        self.words: list[tuple[float, int]] = []
        """Each with the number of rows that had been handed over by then."""
        self.rests = 0
        self.fault: Callable[[Handover], Any] | None = None

    @property
    def ids(self) -> list[int]:
        """Of all rows, as they were handed over."""
        return [row.id for rows in self.handed for row in rows]

    async def take(self, handover: Handover) -> None:
        """Note the rows."""
        if self.fault is not None:
            await self.fault(handover)
        self.handed.append(handover.rows)
        if handover.since is not None:
            self.words.append((handover.since, len(self.ids)))

    async def rest(self, since: float, lsn: int) -> None:
        """Note the word."""
        assert lsn > 0
        self.rests += 1
        self.words.append((since, len(self.ids)))


@pytest.fixture
async def database(database_uri: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database of the outbox, which is empty at first."""
    async with connected(database_uri) as connection:
        await connection.execute("DELETE FROM outbox")
        yield connection


@pytest.fixture
async def relay_of(database_uri: str) -> AsyncIterator[Callable[..., Relay]]:
    """Makes relays, with settings of their own, that aren't running yet."""
    opened: list[Database] = []

    def make(*sinks: Sink, **changes: Any) -> Relay:
        options = msgspec.structs.replace(settings.load().settings, **changes)
        opened.append(database_for(options, database_uri))
        return Relay(opened[-1], sinks)

    yield make
    for each in opened:
        await each.close()


@pytest.fixture
def sink() -> Recording:
    return Recording()
