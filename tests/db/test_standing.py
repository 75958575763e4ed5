"""Connections that stay out of the pool: few, and planning as whoever borrows them wants."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary import settings
from mercenary.db.engine import Database

ASKED = "SELECT current_setting('plan_cache_mode'), pg_backend_pid()"


@pytest.fixture
async def database(database_uri: str) -> AsyncIterator[Database]:
    database = Database(settings.get(), database_uri)
    yield database
    await database.close()


async def seen(connection: AsyncConnection) -> tuple[str, int]:
    """How the connection plans, and which one it is."""
    mode, process = (await connection.execute(text(ASKED))).one()
    return mode, process


async def test_searches_are_planned_for_their_values_and_nothing_else_is(
    database: Database,
) -> None:
    async with database.searching() as connection:
        searching, first = await seen(connection)
    async with database.reading() as connection:
        reading, second = await seen(connection)
    assert (searching, reading) == ("force_custom_plan", "auto")
    assert first == second  # one that is idle is turned over before another is opened


async def test_an_idle_connection_that_plans_as_is_wanted_is_taken_first(
    database: Database,
) -> None:
    async with database.searching() as search, database.reading() as read:
        processes = (await seen(search))[1], (await seen(read))[1]
    async with database.searching() as search:
        assert await seen(search) == ("force_custom_plan", processes[0])
        async with database.reading() as read:
            assert await seen(read) == ("auto", processes[1])


async def test_no_connection_takes_its_planning_back_to_the_pool(database: Database) -> None:
    async with database.searching() as connection:
        _, process = await seen(connection)
    with pytest.raises(DBAPIError):
        async with database.searching() as connection:
            await connection.execute(text("SELECT 1 / 0"))
    async with database.connecting() as connection:
        mode, another = await seen(connection)
    assert mode == "auto"
    assert another != process


async def test_a_connection_to_what_has_become_a_replica_is_not_used_again(
    database: Database,
) -> None:
    processes = []

    async def write() -> None:
        async with database.writing() as connection:
            processes.append((await seen(connection))[1])
            await connection.execute(text("SET TRANSACTION READ ONLY"))
            await connection.execute(text("CREATE TABLE refused ()"))

    with pytest.raises(DBAPIError):
        await write()
    async with database.writing() as connection:
        assert (await seen(connection))[1] not in processes
