"""The relay hands every row on, in order, and deletes it only then."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from mercenary import settings
from mercenary.events.relay import VACUUM_ROWS, Relay, SinkError, database_for
from mercenary.events.sinks import Handover
from tests.db.conftest import connected
from tests.events.conftest import FILL, Recording

MakeRelay = Callable[..., Relay]
PATIENCE = 20.0


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - the database's state has no event here
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(*relays: Relay) -> AsyncIterator[None]:
    """Let relays work until the block ends."""
    stopping = asyncio.Event()
    tasks = [asyncio.create_task(relay.run(stopping)) for relay in relays]
    yield
    stopping.set()
    await asyncio.gather(*tasks)


async def waiting(database: asyncpg.Connection) -> int:
    return int(await database.fetchval("SELECT count(*) FROM outbox"))


async def emptied(database: asyncpg.Connection) -> None:
    async def is_empty() -> bool:
        return await waiting(database) == 0

    await until(is_empty)


async def test_every_row_is_handed_on_once_in_the_order_of_ids(
    relay_of: MakeRelay, sink: Recording, database: asyncpg.Connection
) -> None:
    await database.execute(FILL, 250)
    ids = [row["id"] for row in await database.fetch("SELECT id FROM outbox ORDER BY id")]
    relay = relay_of(sink, relay_rows=100)
    assert [await relay.turn(), await relay.turn(), await relay.turn()] == [True, True, False]
    assert sink.ids == ids
    assert [len(rows) for rows in sink.handed] == [100, 100, 50]
    assert await waiting(database) == 0
    assert relay.measures.rows == 250
    assert relay.measures.oldest > 0
    event = sink.handed[0][0].event
    assert (event.name, event.subject, event.version, event.key, event.tags) == (
        "project.updated",
        "project:1",
        1,
        1,
        ("project:1", "projects"),
    )


async def test_the_word_is_given_only_where_nothing_is_left(
    relay_of: MakeRelay, sink: Recording, database: asyncpg.Connection
) -> None:
    await database.execute(FILL, 15)
    relay = relay_of(sink, relay_rows=10)
    await relay.turn()
    assert sink.words == []
    before = time.monotonic()
    await relay.turn()
    await relay.turn()
    assert len(sink.words) == 2
    assert before <= sink.words[0][0] <= sink.words[1][0] <= time.monotonic()
    assert sink.rests == 1


async def test_a_row_that_is_committed_late_is_handed_on_though_its_id_is_low(
    relay_of: MakeRelay, sink: Recording, database: asyncpg.Connection, database_uri: str
) -> None:
    relay = relay_of(sink)
    async with connected(database_uri) as other:
        async with other.transaction():
            await other.execute(FILL, 1)
            await database.execute(FILL, 1)
            await relay.turn()
            assert len(sink.ids) == 1
        await relay.turn()
    assert len(sink.ids) == 2
    assert sink.ids[1] < sink.ids[0]


async def test_what_one_sink_couldnt_take_is_given_to_all_of_them_again(
    relay_of: MakeRelay, sink: Recording, database: asyncpg.Connection
) -> None:
    failing = Recording()

    async def refuse(_: Handover) -> None:
        raise ConnectionError("it is away")

    failing.fault = refuse
    await database.execute(FILL, 3)
    relay = relay_of(sink, failing)
    with pytest.raises(SinkError, match="recording: ConnectionError"):
        await relay.turn()
    assert await waiting(database) == 3
    failing.fault = None
    await relay.turn()
    assert sink.ids == failing.ids * 2
    assert await waiting(database) == 0


async def test_trouble_is_logged_when_it_begins_and_when_it_ends(
    relay_of: MakeRelay, sink: Recording, database: asyncpg.Connection
) -> None:
    tries = 0

    async def refuse(_: Handover) -> None:
        nonlocal tries
        tries += 1
        raise TimeoutError("it is away")

    sink.fault = refuse
    await database.execute(FILL, 1)
    relay = relay_of(sink)
    with capture_logs() as logged:
        async with running(relay):

            async def tried() -> bool:
                return tries >= 3

            await until(tried)
            assert await waiting(database) == 1
            sink.fault = None
            await emptied(database)
    assert [each["event"] for each in logged] == ["the relay waits", "the relay works again"]
    assert "recording" in logged[0]["cause"]
    assert relay.measures.failures >= 3


async def test_what_a_sink_writes_by_the_handovers_transaction_happens_once(
    relay_of: MakeRelay, sink: Recording, database: asyncpg.Connection
) -> None:
    """Also when the sink after it fails."""
    counting = Recording()

    async def count(handover: Handover) -> None:
        await handover.tx.exec_driver_sql("INSERT INTO counted VALUES ($1)", (handover.rows[0].id,))

    async def refuse(_: Handover) -> None:
        raise ConnectionError("it is away")

    counting.fault, sink.fault = count, refuse
    await database.execute("CREATE TABLE counted (id bigint)")
    await database.execute(FILL, 1)
    relay = relay_of(counting, sink)
    for _ in range(3):
        with pytest.raises(SinkError):
            await relay.turn()
    sink.fault = None
    await relay.turn()
    assert await database.fetchval("SELECT count(*) FROM counted") == 1
    await database.execute("DROP TABLE counted")


async def test_a_sink_that_hangs_is_cut_off_and_the_rows_stay(
    relay_of: MakeRelay, sink: Recording, database: asyncpg.Connection
) -> None:
    async def hang(_: Handover) -> None:
        await asyncio.Event().wait()

    sink.fault = hang
    await database.execute(FILL, 1)
    relay = relay_of(sink, relay_turn=0.2)
    with pytest.raises(SinkError, match="TimeoutError"):
        await relay.turn()
    assert await waiting(database) == 1


async def test_a_relay_whose_turn_another_has_stands_by(
    relay_of: MakeRelay, sink: Recording, database: asyncpg.Connection
) -> None:
    other = Recording()
    standing_by = relay_of(other)

    async def let_the_other_try(_: Handover) -> None:
        await standing_by.turn()

    sink.fault = let_the_other_try
    await database.execute(FILL, 5)
    await relay_of(sink).turn()
    assert len(sink.ids) == 5
    assert other.handed == []
    assert standing_by.measures.stood_by == 1


async def test_of_several_relays_each_row_is_handed_on_by_one(
    relay_of: MakeRelay, database: asyncpg.Connection
) -> None:
    sinks = [Recording() for _ in range(3)]
    relays = [relay_of(each, relay_rows=20, relay_pause=0.001) for each in sinks]
    async with running(*relays):
        for _ in range(20):
            await database.execute(FILL, 50)
        await emptied(database)
    handed = [id for each in sinks for id in each.ids]
    assert len(handed) == len(set(handed)) == 1000
    assert all(each.ids == sorted(each.ids) for each in sinks)


async def test_it_goes_on_when_its_connections_are_cut(
    relay_of: MakeRelay, sink: Recording, database: asyncpg.Connection
) -> None:
    cut = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'mercenary'"
    )
    async with running(relay_of(sink, relay_pause=0.001)):
        for _ in range(5):

            async def is_cut() -> Any:
                return await database.fetchval(cut)

            await until(is_cut)
            await database.execute(FILL, 10)
            await emptied(database)
    assert len(set(sink.ids)) == 50


async def test_a_database_that_is_away_is_waited_for(sink: Recording) -> None:
    nowhere = database_for(settings.get(), "postgresql://nobody@127.0.0.1:1/nothing")
    relay = Relay(nowhere, [sink])
    with capture_logs() as logged:
        async with running(relay):

            async def tried() -> bool:
                return relay.measures.failures >= 2

            await until(tried)
    assert [each["event"] for each in logged] == ["the relay waits"]
    assert sink.words == []
    await nowhere.close()


async def test_the_table_stays_lean_however_many_rows_go_through_it(
    relay_of: MakeRelay, sink: Recording, database: asyncpg.Connection
) -> None:
    relay = relay_of(sink, relay_pause=0.001)
    sizes = []
    async with running(relay):
        for _ in range(20):
            await database.execute(FILL, 5000)
            await emptied(database)
            sizes.append(await database.fetchval("SELECT pg_total_relation_size('outbox')"))
    assert relay.measures.rows == 100_000
    assert relay.measures.vacuums >= 100_000 // VACUUM_ROWS - 1
    rounds_between = VACUUM_ROWS // 5000
    assert sizes[-1] <= 1.5 * sizes[rounds_between]
    assert len(set(sink.ids)) == 100_000


def test_a_relay_without_sinks_is_refused(relay_of: MakeRelay) -> None:
    with pytest.raises(ValueError, match="throw everything away"):
        relay_of()
