"""Purging on a database of the test's own, and receivers in place of the CDNs that aren't ours."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from mercenary import settings
from mercenary.app import ENDPOINTS
from mercenary.cdn import purger
from mercenary.cdn.service import Purging
from mercenary.db import engine
from mercenary.db.outbox import Event, Row, delete_rows, hold_rows
from mercenary.events.sinks import Handover
from mercenary.http.shared_caching import public_kinds
from tests.cdn.receiver import Receiver
from tests.db.conftest import connected

PATIENCE = 20.0


class Relayed:
    """Purging as a relay would use it: what is kept in a transaction, and tasks that tell it."""

    def __init__(self, database: engine.Database) -> None:
        self.database = database
        uri = database.settings.sqlalchemy_database_uri
        assert uri is not None
        self.uri = uri
        self.purging = Purging(database.settings, uri, public_kinds(ENDPOINTS))
        self._ids = itertools.count(-1, -1)  # of no row in the outbox

    async def keep(self, *tags: str) -> None:
        """Hand tags on, as of one event."""
        event = Event("cache.purged", "*", tags=tags)
        await self._hand_on([Row(next(self._ids), event, stamp=1, age=0.0)])

    async def relay(self, *, fails: bool = False) -> None:
        """Hand on what is in the outbox, as the relay does; `fails` afterwards, so all stays."""
        async with self.database.connecting() as tx, tx.begin() as transaction:
            held = await hold_rows(tx, 1000)
            assert held is not None
            await self.purging.take(Handover(tx, held.rows, None))
            if fails:
                await transaction.rollback()
            else:
                await delete_rows(tx, held.rows)

    async def _hand_on(self, rows: Sequence[Row]) -> None:
        async with self.database.connecting() as tx, tx.begin():
            await self.purging.take(Handover(tx, rows, None))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have targets told within the block."""
        stopping = asyncio.Event()
        async with asyncio.timeout(3 * PATIENCE), asyncio.TaskGroup() as group:
            group.create_task(self.purging.run(stopping))
            try:
                yield
            finally:
                stopping.set()

    async def waiting(self) -> Sequence[Sequence[Any]]:
        """What is still to be told: tag, asked, told, attempts, and seconds until it is due."""
        async with connected(self.uri) as connection:
            return [
                tuple(row)
                for row in await connection.fetch(
                    "SELECT tag, asked, told, attempts, extract(epoch FROM due_at - now())::float "
                    "FROM cdn_purges ORDER BY tag"
                )
            ]

    async def waiting_tags(self) -> set[str]:
        """The tags that are still to be told."""
        return {row[0] for row in await self.waiting()}


Relaying = Callable[..., Awaitable[Relayed]]


@pytest.fixture
async def relaying(database_uri: str) -> AsyncIterator[Relaying]:
    """Purging under some settings: `await relaying(cdn="varnish", …)`, as often as needed."""
    async with connected(database_uri) as connection:
        await connection.execute("TRUNCATE cdn_purges, outbox")
    opened: list[Relayed] = []

    async def start(**changes: Any) -> Relayed:
        options = msgspec.structs.replace(
            settings.Settings(sqlalchemy_database_uri=database_uri), **changes
        )
        opened.append(Relayed(engine.Database(options, database_uri)))
        return opened[-1]

    yield start
    for relayed in opened:
        await relayed.purging.close()
        await relayed.database.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Stands in for a CDN's own API."""
    async with Receiver.listening() as receiver:
        yield receiver


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wish is told three times without a wait, and failures are tried again soon."""
    monkeypatch.setattr(purger, "again_after", lambda settings: (0.0, 0.0))
    monkeypatch.setattr(purger, "LONGEST_PAUSE", 0.05)


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Poll until the condition holds; fail with `what` when it doesn't in time."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not await condition():  # noqa: ASYNC110 - others' doing has no event here
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE:g} s: {what}") from None


def all_tags(calls: Iterable[Any]) -> list[str]:
    """The tags of calls, as often as each was told."""
    return sorted(tag for call in calls for tag in call)
