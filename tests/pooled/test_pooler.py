"""Transactions whose server connection is another's a moment later: bounds, plans, crashes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary import settings
from mercenary.database_settings import EngineOptions
from mercenary.db import engine
from mercenary.db.batches import read_batch, write_batch
from mercenary.db.engine import Database
from mercenary.db.migrate import pending, upgrade
from mercenary.errors import DeadlineExceeded, ProblemError, Unavailable
from mercenary.seeding.seed import seed
from mercenary.seeding.tokens import issue
from mercenary.sojourn import Sojourn, enter
from tests.db.conftest import connected, empty_uri, new_database
from tests.pooled.conftest import SERVER_CONNECTIONS
from tests.pooled.pgbouncer import PgBouncer

__all__ = ["empty_uri", "new_database"]  # the fixtures of the tests of the database

CALLERS = 200
PATIENCE = 30.0
BOUNDS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "jit")
SLEEPING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE 'SELECT pg_sleep%'
"""

Open = Callable[..., Database]


async def select_settings(db: AsyncConnection, keys: Sequence[str]) -> dict[str, str]:
    rows = await db.execute(
        text("SELECT k, current_setting(k) FROM unnest(CAST(:keys AS text[])) k"),
        {"keys": list(keys)},
    )
    return {row[0]: row[1] for row in rows}


async def select_after(db: AsyncConnection, keys: Sequence[float]) -> dict[float, float]:
    await db.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": max(keys)})
    return {key: key for key in keys}


async def insert_notes(tx: AsyncConnection, asks: Sequence[int]) -> Sequence[int | Exception]:
    for each in asks:
        await tx.execute(text("INSERT INTO notes VALUES (:id)"), {"id": each})
    return list(asks)


find_setting = read_batch(select_settings)
find_plan_setting = read_batch(select_settings, name="plan", searching=True)
find_after = read_batch(select_after)
add_note = write_batch(insert_notes)


@pytest.fixture(scope="module")
async def notes_uri(database_uri: str) -> str:
    async with connected(database_uri) as connection:
        await connection.execute("CREATE TABLE notes (id bigint PRIMARY KEY)")
    return database_uri


@pytest.fixture
async def opened(notes_uri: str, pgbouncer: PgBouncer) -> AsyncIterator[Open]:
    """Opens the database through PgBouncer or, as newer ones allow more, straight."""
    databases: list[Database] = []

    def open_(*, pooler: str = "transaction", straight: bool = False, **changes: Any) -> Database:
        options = msgspec.structs.replace(settings.get(), pooler=pooler, **changes)
        uri = notes_uri if straight else pgbouncer.uri(notes_uri)
        databases.append(Database(options, uri))
        engine.use(databases[-1])
        return databases[-1]

    yield open_
    engine.use(None)
    for database in databases:
        await database.close()


@pytest.mark.parametrize(
    ("pooler", "straight"), [("transaction", False), ("transaction-prepared", True)]
)
async def test_every_transaction_has_its_bounds_and_leaves_none_behind(
    opened: Open, notes_uri: str, pooler: str, straight: bool
) -> None:
    database = opened(pooler=pooler, straight=straight, statement_timeout=4.0, lock_timeout=1.5)
    wanted = ["4s", "1500ms", "10s", "off"]
    assert [await find_setting(name) for name in BOUNDS] == wanted
    for lent in (database.writing(), database.connecting()):
        async with lent as connection, connection.begin():
            found = await select_settings(connection, BOUNDS)
            assert [found[name] for name in BOUNDS] == wanted
    async with database.taking_time(20.0) as connection:
        assert (await select_settings(connection, BOUNDS))["statement_timeout"] == "20s"
    async with database.without_transaction() as connection:
        await connection.execute(text("VACUUM notes"))
        found = await select_settings(connection, BOUNDS)
    async with connected(notes_uri) as other:
        untouched = [await other.fetchval("SELECT current_setting($1)", name) for name in BOUNDS]
    assert [found[name] for name in BOUNDS] == untouched


async def test_searches_are_planned_for_their_values_where_statements_have_names(
    opened: Open,
) -> None:
    opened(pooler="transaction-prepared", straight=True)
    assert await find_plan_setting("plan_cache_mode") == "force_custom_plan"
    assert await find_setting("plan_cache_mode") == "auto"


async def test_no_statement_keeps_a_name_on_a_server_connection(
    opened: Open, notes_uri: str
) -> None:
    """Two callers' equal names would meet there."""
    database = opened()
    await asyncio.gather(*(find_setting(name) for name in BOUNDS), add_note(1_000_001))
    async with database.connecting() as connection:
        named = await connection.scalar(text("SELECT count(*) FROM pg_prepared_statements"))
    assert named == 0


async def test_a_read_past_its_callers_deadline_is_stopped_and_the_next_has_the_usual_time(
    opened: Open, notes_uri: str
) -> None:
    opened(statement_timeout=20.0, request_deadline=60.0)

    async def hurried() -> None:
        enter(Sojourn(asyncio.get_running_loop().time() + 0.2))
        await find_after(19.0)

    with pytest.raises(DeadlineExceeded):
        await asyncio.create_task(hurried())
    async with connected(notes_uri) as other, asyncio.timeout(5):
        while await other.fetchval(SLEEPING):  # noqa: ASYNC110 - PostgreSQL stops it
            await asyncio.sleep(0.01)
    assert await find_setting("statement_timeout") == "20s"


async def test_whoever_does_not_say_that_there_is_a_pooler_is_refused_at_once(
    opened: Open,
) -> None:
    database = opened(pooler="none")
    with pytest.raises(DBAPIError, match="unsupported startup parameter"):
        async with database.reading():
            pass


async def test_a_database_is_made_and_filled_through_it(
    empty_uri: str, pgbouncer: PgBouncer
) -> None:
    uri = pgbouncer.uri(empty_uri)
    options = msgspec.structs.replace(settings.get(), pooler="transaction")
    assert await upgrade(uri)
    assert await pending(uri) == []
    await seed(uri, options, projects=200, seed=1, with_demo=False)
    issued = await issue(uri, options, seconds=60, count=3)
    assert len({each.user_id for each in issued}) == 3


async def test_any_number_of_callers_on_five_server_connections_are_answered(
    opened: Open, notes_uri: str
) -> None:
    """Batches and those who come alone, with six times the connections that PgBouncer has."""
    options = EngineOptions(pool_size=20, max_overflow=10, pool_timeout=PATIENCE)
    database = opened(sqlalchemy_engine_options=options, batch_lanes=8)

    async def alone(number: int) -> int:
        async with database.connecting() as connection, connection.begin():
            await connection.execute(text("INSERT INTO notes VALUES (:id)"), {"id": number})
        return number

    most = 0
    async with asyncio.timeout(PATIENCE), connected(notes_uri) as other:
        callers = [asyncio.create_task(alone(number)) for number in range(CALLERS)]
        callers += [asyncio.create_task(_answer(add_note(CALLERS + n))) for n in range(CALLERS)]
        while not all(caller.done() for caller in callers):
            most = max(most, await _server_connections(other))
        assert [caller.result() for caller in callers] == list(range(2 * CALLERS))
    assert 0 < most <= SERVER_CONNECTIONS


async def test_a_crash_of_pgbouncer_loses_no_acknowledged_write(
    opened: Open, notes_uri: str, pgbouncer: PgBouncer
) -> None:
    opened(sqlalchemy_engine_options=EngineOptions(pool_size=20, max_overflow=10), batch_lanes=8)
    written = Written(start=10_000)
    callers = [asyncio.create_task(written.go_on()) for _ in range(CALLERS)]
    await written.reach(500)
    pgbouncer.kill()
    await written.fail()
    pgbouncer.child.start()
    await written.reach(len(written.acknowledged) + 500)
    written.stopping = True
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*callers)
    async with connected(notes_uri) as other:
        stored = {row["id"] for row in await other.fetch("SELECT id FROM notes")}
    assert written.acknowledged <= stored
    assert {type(error) for error in written.errors} <= {Unavailable, DeadlineExceeded}


class Written:
    """What callers wrote, each one number after the other, and what they were told."""

    def __init__(self, *, start: int) -> None:
        self.next = start
        self.acknowledged: set[int] = set()
        self.errors: list[ProblemError] = []
        self.stopping = False

    async def go_on(self) -> None:
        while not self.stopping:
            self.next += 1
            number = self.next
            try:
                self.acknowledged.add(await add_note(number))
            except ProblemError as error:
                self.errors.append(error)
                await asyncio.sleep(0.01)  # as somebody who tries again would

    async def reach(self, count: int) -> None:
        await self._until(lambda: len(self.acknowledged) >= count)

    async def fail(self) -> None:
        await self._until(lambda: bool(self.errors))

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - callers tell by what they have written
                await asyncio.sleep(0.005)


async def _answer(asked: Awaitable[int]) -> int:
    return await asked


async def _server_connections(connection: Any) -> int:
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    return count
