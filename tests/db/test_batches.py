"""Batches over a real PostgreSQL: what a caller gets when rows, connections or servers fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary import settings
from mercenary.database_settings import EngineOptions
from mercenary.db import engine
from mercenary.db.batches import read_batch, write_batch
from mercenary.errors import Conflict, DeadlineExceeded, Overloaded, Unavailable
from mercenary.sojourn import Sojourn, enter
from tests.conftest import Statements

DEADLINE = 10.0
ONE_CONNECTION = EngineOptions(pool_size=1, max_overflow=0)


async def select_doubles(db: AsyncConnection, keys: Sequence[int]) -> Mapping[int, int]:
    rows = await db.execute(
        text("SELECT k, k * 2 FROM unnest(CAST(:keys AS bigint[])) k"), {"keys": list(keys)}
    )
    return {row[0]: row[1] for row in rows}


async def insert_notes(tx: AsyncConnection, asks: Sequence[int]) -> Sequence[int | Exception]:
    for each in asks:
        await tx.execute(text("INSERT INTO notes VALUES (:id)"), {"id": each})
    return list(asks)


find_double = read_batch(select_doubles)
add_note = write_batch(insert_notes)


@pytest.fixture(scope="module")
async def notes_uri(database_uri: str) -> str:
    connection = await asyncpg.connect(database_uri)
    await connection.execute("CREATE TABLE notes (id bigint PRIMARY KEY CHECK (id > 0))")
    await connection.close()
    return database_uri


@pytest.fixture
async def opened(notes_uri: str) -> AsyncIterator[Callable[..., engine.Database]]:
    """Opens the database with other settings, and closes it after the test."""
    databases: list[engine.Database] = []

    def open_(**changes: object) -> engine.Database:
        options = msgspec.structs.replace(settings.get(), **changes)
        databases.append(engine.Database(options, notes_uri))
        engine.use(databases[-1])
        return databases[-1]

    yield open_
    engine.use(None)
    for database in databases:
        await database.close()


async def double_of(number: int) -> int | None:
    """Ask as a coroutine does, so that a refusal is an outcome like others."""
    return await find_double(number)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, at most until the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not await condition():  # noqa: ASYNC110 - another process's state has no event
            await asyncio.sleep(0.01)


async def stored(uri: str) -> set[int]:
    connection = await asyncpg.connect(uri)
    rows = await connection.fetch("SELECT id FROM notes")
    await connection.close()
    return {row["id"] for row in rows}


async def backends(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await connection.fetch(
        "SELECT pid, state FROM pg_stat_activity"
        " WHERE application_name = 'mercenary' AND datname = current_database()"
    )
    return rows


async def test_a_row_that_breaks_a_constraint_fails_alone(
    opened: Callable[..., engine.Database], notes_uri: str
) -> None:
    database = opened()
    asks = [*range(1, 20), -1, *range(20, 40)]
    outcomes = await asyncio.gather(*(add_note(ask) for ask in asks), return_exceptions=True)
    failed = [ask for ask, outcome in zip(asks, outcomes, strict=True) if outcome != ask]
    assert failed == [-1]
    assert isinstance(outcomes[19], Conflict)
    assert await stored(notes_uri) >= set(range(1, 40))
    assert database.batches["insert_notes"].measures.splits > 0


async def test_of_two_equal_rows_in_a_batch_one_is_stored(
    opened: Callable[..., engine.Database],
) -> None:
    opened()
    outcomes = await asyncio.gather(add_note(101), add_note(101), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "int"]


async def test_a_read_survives_the_death_of_its_connections(
    opened: Callable[..., engine.Database], notes_uri: str
) -> None:
    opened()
    assert await find_double(4) == 8
    other = await asyncpg.connect(notes_uri)
    for row in await backends(other):
        await other.execute("SELECT pg_terminate_backend($1)", row["pid"])

    async def gone() -> bool:
        return not await backends(other)

    await until(gone)
    assert await asyncio.gather(*(find_double(n) for n in range(50))) == [2 * n for n in range(50)]
    await other.close()


async def test_a_write_whose_connection_died_before_commit_is_made_once(
    opened: Callable[..., engine.Database], notes_uri: str
) -> None:
    opened()
    await add_note(201)
    other = await asyncpg.connect(notes_uri)
    for row in await backends(other):
        await other.execute("SELECT pg_terminate_backend($1)", row["pid"])
    assert await asyncio.gather(*(add_note(n) for n in range(202, 230))) == list(range(202, 230))
    assert await stored(notes_uri) >= set(range(201, 230))
    await other.close()


async def test_an_unreachable_server_is_unavailable(
    opened: Callable[..., engine.Database], notes_uri: str
) -> None:
    database = engine.Database(settings.get(), "postgresql://nobody@127.0.0.1:1/nothing")
    engine.use(database)
    for outcome in await asyncio.gather(find_double(1), add_note(301), return_exceptions=True):
        assert isinstance(outcome, Unavailable)
        assert "127.0.0.1" not in str(outcome)
    await database.close()


async def test_a_statement_past_its_timeout_is_a_deadline(
    opened: Callable[..., engine.Database],
) -> None:
    async def select_slowly(db: AsyncConnection, keys: Sequence[int]) -> Mapping[int, int]:
        await db.execute(text("SELECT pg_sleep(30)"))
        return dict.fromkeys(keys, 0)

    opened(statement_timeout=0.1)
    with pytest.raises(DeadlineExceeded):
        await read_batch(select_slowly)(1)


async def statement_timeouts(tx: AsyncConnection, asks: Sequence[int]) -> Mapping[int, float]:
    """What the server allows, in seconds; each ask gets the same."""
    shown = await tx.execute(
        text("SELECT setting::float / 1000 FROM pg_settings WHERE name = 'statement_timeout'")
    )
    return dict.fromkeys(asks, shown.scalar_one())


async def changing_timeouts(tx: AsyncConnection, asks: Sequence[int]) -> Sequence[float]:
    return list((await statement_timeouts(tx, asks)).values())


async def asked_within(
    seconds: float, query: Callable[[int], "asyncio.Future[Any]"], ask: int
) -> Any:
    """Ask in the name of somebody who waits no longer."""
    enter(Sojourn(asyncio.get_running_loop().time() + seconds))
    asked = query(ask)
    enter(None)
    return await asked


@pytest.mark.parametrize("query", [read_batch(statement_timeouts), write_batch(changing_timeouts)])
async def test_the_servers_patience_is_the_longest_of_the_batchs_callers_and_no_longer_than_usual(
    opened: Callable[..., engine.Database], query: Callable[[int], "asyncio.Future[Any]"]
) -> None:
    opened(statement_timeout=5.0, batch_lanes=1, sqlalchemy_engine_options=ONE_CONNECTION)
    assert await asked_within(9, query, 1) == 5.0
    shortened = await asyncio.gather(asked_within(2, query, 1), asked_within(3, query, 2))
    assert shortened[0] == shortened[1]
    assert 2.5 < shortened[0] <= 3.0
    assert await asked_within(9, query, 1) == 5.0


async def test_only_who_is_short_of_time_pays_a_trip_for_it(
    opened: Callable[..., engine.Database],
) -> None:
    database = opened(statement_timeout=5.0)
    for seconds, expected in ((9.0, 1), (3.0, 3)):
        with Statements().recorded() as statements:
            await asked_within(seconds, find_double, 1)
        assert len(statements) == expected
    assert database.batches["select_doubles"].measures.runs == 2


async def test_a_read_past_its_callers_deadline_is_stopped_and_its_connection_is_as_before(
    opened: Callable[..., engine.Database], notes_uri: str
) -> None:
    async def select_slowly(db: AsyncConnection, keys: Sequence[int]) -> Mapping[int, int]:
        await db.execute(text("SELECT pg_sleep(30)"))
        return dict.fromkeys(keys, 0)

    opened(
        statement_timeout=20.0,
        request_deadline=60.0,
        batch_lanes=1,
        sqlalchemy_engine_options=ONE_CONNECTION,
    )
    with pytest.raises(DeadlineExceeded):
        await asked_within(0.2, read_batch(select_slowly), 1)
    assert await asked_within(60, read_batch(statement_timeouts), 1) == 20.0


async def test_the_commit_has_the_usual_time_however_late_it_is(
    opened: Callable[..., engine.Database], notes_uri: str
) -> None:
    async def insert_slowly(tx: AsyncConnection, asks: Sequence[int]) -> Sequence[int | Exception]:
        await tx.execute(text("SELECT set_config('test.slow', 'yes', true)"))
        return await insert_notes(tx, asks)

    opened()
    other = await asyncpg.connect(notes_uri)
    await other.execute(
        """
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF current_setting('test.slow', true) = 'yes' THEN PERFORM pg_sleep(1); END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER dawdles AFTER INSERT ON notes
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle();
        """
    )
    try:
        with pytest.raises(DeadlineExceeded):
            await asked_within(0.5, write_batch(insert_slowly), 701)
        await engine.current().batches["insert_slowly"].drain()
        assert 701 in await stored(notes_uri)
    finally:
        await other.execute("DROP TRIGGER dawdles ON notes; DROP FUNCTION dawdle()")
        await other.close()


async def test_a_lock_that_is_not_given_is_unavailable_and_nothing_is_left_open(
    opened: Callable[..., engine.Database], notes_uri: str
) -> None:
    opened(lock_timeout=0.1)
    other = await asyncpg.connect(notes_uri)
    async with other.transaction():
        await other.execute("LOCK TABLE notes")
        with pytest.raises(Overloaded):
            await add_note(401)

        async def none_in_transaction() -> bool:
            return all("transaction" not in (row["state"] or "") for row in await backends(other))

        await until(none_in_transaction)
    await other.close()


async def test_many_more_callers_than_connections_all_get_their_answer(
    opened: Callable[..., engine.Database],
) -> None:
    options = EngineOptions(pool_size=1, max_overflow=1, pool_timeout=5.0)
    opened(sqlalchemy_engine_options=options, batch_lanes=4, batch_size=8)
    answers = await asyncio.gather(*(find_double(n) for n in range(2000)))
    assert answers == [2 * n for n in range(2000)]


@pytest.mark.parametrize("connections", [1, 2, 3, 5])
async def test_readers_and_writers_never_wait_for_what_the_others_keep(
    opened: Callable[..., engine.Database], connections: int
) -> None:
    options = EngineOptions(pool_size=connections, max_overflow=0, pool_timeout=5.0)
    opened(sqlalchemy_engine_options=options, batch_lanes=4, batch_size=8)
    first = 1_000_000 * connections
    for start in range(first, first + 500, 100):
        notes = range(start, start + 100)
        answers = await asyncio.gather(
            *(find_double(number) for number in notes), *(add_note(number) for number in notes)
        )
        assert answers == [*(2 * number for number in notes), *notes]


async def test_a_full_queue_says_no_at_once_and_serves_those_within(
    opened: Callable[..., engine.Database],
) -> None:
    opened(batch_waiting=100)
    outcomes = await asyncio.gather(*(double_of(n) for n in range(1000)), return_exceptions=True)
    answered = [outcome for outcome in outcomes if isinstance(outcome, int)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
    assert len(answered) + len(refused) == 1000
    assert len(answered) >= 100
    assert len(refused) >= 500


async def test_a_storm_of_cancelled_callers_leaks_no_connection(
    opened: Callable[..., engine.Database], notes_uri: str
) -> None:
    database = opened()
    other = await asyncpg.connect(notes_uri)
    for wave in range(30):
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(_any(wave * 100 + number)) for number in range(100)
        ]
        for _ in range(wave % 4):
            await asyncio.sleep(0)
        for task in tasks[:: 1 + wave % 2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for batch in database.batches.values():
        await batch.drain()
    pool = database.engine.sync_engine.pool
    held, idle = pool.checkedout(), pool.checkedin()  # type: ignore[attr-defined]
    # Only what the lanes keep is out of the pool, and the server counts the same.
    assert held <= 2 * database.settings.batch_lanes
    rows = await backends(other)
    assert len(rows) == held + idle
    assert {row["state"] for row in rows} == {"idle"}
    assert await find_double(21) == 42
    await database.close()

    async def settled() -> bool:
        return await backends(other) == []

    await until(settled)
    await other.close()


async def _any(number: int) -> object:
    if number % 2:
        return await find_double(number)
    return await add_note(100_000 + number)


async def test_a_caller_who_leaves_does_not_undo_the_write(
    opened: Callable[..., engine.Database], notes_uri: str
) -> None:
    database = opened()
    task = add_note(501)

    async def begun() -> bool:
        return database.batches.get("insert_notes") is not None and (
            database.batches["insert_notes"].measures.runs > 0
            or database.batches["insert_notes"].waiting == 0
        )

    await until(begun)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await database.batches["insert_notes"].drain()
    assert 501 in await stored(notes_uri)


async def test_a_commit_that_cannot_be_confirmed_is_not_repeated(
    opened: Callable[..., engine.Database], notes_uri: str
) -> None:
    runs = 0

    async def insert_and_die(tx: AsyncConnection, asks: Sequence[int]) -> Sequence[int | Exception]:
        nonlocal runs
        runs += 1
        await insert_notes(tx, asks)
        # The constraint is checked at COMMIT, where the session ends itself.
        await tx.execute(text("SELECT set_config('test.die', 'yes', true)"))
        return list(asks)

    opened()
    other = await asyncpg.connect(notes_uri)
    await other.execute(
        """
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF current_setting('test.die', true) = 'yes' THEN
                PERFORM pg_terminate_backend(pg_backend_pid());
            END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON notes
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die();
        """
    )
    try:
        with pytest.raises(Unavailable):
            await write_batch(insert_and_die)(601)
    finally:
        await other.execute("DROP TRIGGER dies ON notes; DROP FUNCTION die()")
        await other.close()
    assert runs == 1
    assert 601 not in await stored(notes_uri)


async def test_a_fault_of_our_own_is_not_taken_for_the_servers(
    opened: Callable[..., engine.Database],
) -> None:
    async def select_wrongly(db: AsyncConnection, keys: Sequence[int]) -> Mapping[int, int]:
        await db.execute(text("SELECT no_such_column"))
        return dict.fromkeys(keys, 0)

    opened()
    with pytest.raises(DBAPIError):
        await read_batch(select_wrongly)(1)


async def test_an_errors_text_holds_no_parameter(opened: Callable[..., engine.Database]) -> None:
    async def select_badly(db: AsyncConnection, keys: Sequence[str]) -> Mapping[str, str]:
        await db.execute(text("SELECT no_such_column, :secret"), {"secret": keys[0]})
        return {}

    opened()
    with pytest.raises(DBAPIError) as caught:
        await read_batch(select_badly)("canary-of-a-secret")
    assert "canary-of-a-secret" not in str(caught.value)
    assert "no_such_column" in str(caught.value)
