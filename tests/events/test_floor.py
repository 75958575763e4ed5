"""A relay looks no lower than it must, and misses nothing that is committed late."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from mercenary import settings
from mercenary.db.engine import Database
from mercenary.db.outbox import Event, insert_events
from mercenary.events import floor
from mercenary.events.floor import Floor
from mercenary.events.relay import Relay
from tests.db.conftest import connected
from tests.events.conftest import FILL, Recording

MakeRelay = Callable[..., Relay]
PATIENCE = 20.0
WRITERS = 8
WAITING = """
    SELECT backend_xid FROM pg_stat_activity WHERE wait_event_type = 'Lock'
    AND query ~ 'INTO outbox' AND datname = current_database()
"""


@pytest.fixture
def never_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look begins at the beginning, unless it must."""
    monkeypatch.setattr(floor, "FROM_THE_BEGINNING_SECONDS", float("inf"))


@pytest.fixture
async def writing(database_uri: str) -> AsyncIterator[Database]:
    """The database as writers use it."""
    opened = Database(settings.load().settings, database_uri)
    yield opened
    await opened.close()


def test_it_rises_once_nobody_is_left_who_could_insert_below() -> None:
    low = Floor()
    low.hand_on(100, 7)
    low.see(6)
    low.settle()
    assert low.id == 0
    low.see(7)
    assert low.id == 0
    low.settle()
    assert low.id == 100


def test_it_rises_to_the_last_that_was_handed_on_in_the_end() -> None:
    low = Floor()
    for number in range(1, 10):
        low.hand_on(number * 100, number)
    for expected in (100, 900, 900):
        low.see(50)
        low.settle()
        assert low.id == expected


async def test_what_is_deleted_isnt_passed_though_somebody_may_still_see_it(
    relay_of: MakeRelay,
    sink: Recording,
    database: asyncpg.Connection,
    database_uri: str,
    never_whole: None,
) -> None:
    relay = relay_of(sink)
    async with connected(database_uri) as reader, reader.transaction(isolation="repeatable_read"):
        await reader.fetchval("SELECT count(*) FROM outbox")
        await database.execute(FILL, 3000)
        for _ in range(6):
            await relay.turn()
    assert len(sink.ids) == 3000
    assert relay._floor.id == sink.ids[-1]


async def test_a_database_in_which_ids_have_gone_back_is_noticed(
    relay_of: MakeRelay,
    sink: Recording,
    database: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in one that was restored from a copy."""
    monkeypatch.setattr(floor, "FROM_THE_BEGINNING_SECONDS", float("inf"))
    relay = relay_of(sink)
    await database.execute(FILL, 100)
    for _ in range(4):
        await relay.turn()
    await database.execute(
        "INSERT INTO outbox (id, key, stamp, version, name, subject, tags)"
        " VALUES ($1, 1, 1, 1, 'project.updated', 'project:1', '')",
        sink.ids[0],
    )
    await relay.turn()
    assert len(sink.ids) == 100
    monkeypatch.setattr(floor, "FROM_THE_BEGINNING_SECONDS", 0.0)
    await relay.turn()
    assert sink.ids[100:] == sink.ids[:1]


async def test_whoever_draws_an_id_has_a_transactions_id_before(
    writing: Database, database: asyncpg.Connection, database_uri: str
) -> None:
    """Also in a transaction that has changed nothing else."""

    async def tell() -> None:
        async with writing.writing() as tx, tx.begin():
            await insert_events(tx, [Event("project.created", "project:1")], 1)

    async with connected(database_uri) as other, other.transaction():
        await other.execute("ALTER SEQUENCE outbox_id_seq CYCLE")  # whoever draws one has to wait
        telling = asyncio.create_task(tell())
        async with asyncio.timeout(PATIENCE):
            found = None
            while found is None:  # another process's state has no event
                await asyncio.sleep(0.005)
                found = await database.fetchrow(WAITING)
        assert found["backend_xid"] is not None
        await other.execute("ALTER SEQUENCE outbox_id_seq NO CYCLE")
    await telling


async def test_nothing_is_missed_and_no_word_is_given_too_early(
    relay_of: MakeRelay,
    writing: Database,
    sink: Recording,
    database: asyncpg.Connection,
    never_whole: None,
) -> None:
    """Writers that commit in any order, and a relay whose floor rises all the time."""
    chance = random.Random(4)
    committed: dict[int, float] = {}
    relay = relay_of(sink, relay_rows=7, relay_pause=0.001)

    async def write(writer: int) -> None:
        for number in range(40):
            stamp = 1 + writer * 1000 + number
            async with writing.connecting() as tx, tx.begin():
                await insert_events(tx, [Event("project.created", "project:1", key=1)], stamp)
                for _ in range(chance.choice((0, 0, 1, 20))):
                    await tx.exec_driver_sql("SELECT 1")
            committed[stamp] = time.monotonic()

    stopping = asyncio.Event()
    running = asyncio.create_task(relay.run(stopping))
    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    async with asyncio.timeout(PATIENCE):
        while len(sink.ids) < len(committed):  # noqa: ASYNC110 - the relay tells nobody else
            await asyncio.sleep(0.005)
    stopping.set()
    await running
    handed = [row.stamp for rows in sink.handed for row in rows]
    assert sorted(handed) == sorted(committed)
    assert relay._floor.id > 0
    for since, count in sink.words:
        known = {stamp for stamp, moment in committed.items() if moment < since}
        assert known <= {*handed[:count]}
