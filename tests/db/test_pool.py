"""The pool: the guide's options, what is counted, and when an idle connection is asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from mercenary import settings
from mercenary.database_settings import EngineOptions
from mercenary.db import pool
from mercenary.db.engine import Database
from tests.db.conftest import connected

Open = Callable[..., Database]

END_OURS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name = 'mercenary' AND datname = current_database()
"""


@pytest.fixture
async def opened(database_uri: str) -> AsyncIterator[Open]:
    """Opens the database with these options of its pool, and closes it after the test."""
    databases: list[Database] = []

    def open_(ping_after: float = 5.0, **options: Any) -> Database:
        changed = msgspec.structs.replace(
            settings.get(),
            sqlalchemy_engine_options=EngineOptions(**options),
            pool_ping_after=ping_after,
        )
        databases.append(Database(changed, database_uri))
        return databases[-1]

    yield open_
    for database in databases:
        await database.close()


def counted(database: Database, *names: str) -> list[float]:
    figures = database.counts()
    return [figures[f"pool_{name}"] for name in names]


async def process_of(database: Database) -> int:
    async with database.connecting() as connection:
        process: int = await connection.scalar(text("SELECT pg_backend_pid()"))
        return process


async def end_backends(uri: str) -> None:
    """End all sessions of ours, and wait until they are gone."""
    async with connected(uri) as other:
        async with asyncio.timeout(10):
            while await other.fetchval(END_OURS):  # noqa: ASYNC110 - their end has no event
                await asyncio.sleep(0.01)


async def test_what_is_lent_kept_idle_and_beyond_the_size_is_counted(opened: Open) -> None:
    database = opened(pool_size=2, max_overflow=2)
    names = ("size", "most", "in_use", "standing", "idle", "overflow", "opened_total")
    assert counted(database, *names) == [2, 4, 0, 0, 0, 0, 0]
    async with database.connecting() as first, database.reading(), database.writing():
        await first.execute(text("SELECT 1"))
        assert counted(database, *names) == [2, 4, 3, 0, 0, 1, 3]
    assert counted(database, *names) == [2, 4, 0, 2, 1, 1, 3]


async def test_who_waits_and_who_waited_in_vain_is_counted(opened: Open) -> None:
    database = opened(pool_size=1, max_overflow=0, pool_timeout=0.05)
    async with database.connecting():
        waiting = asyncio.create_task(process_of(database))
        async with asyncio.timeout(10):
            while counted(database, "waiting") == [0]:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0)
        with pytest.raises(Exception, match="limit of size 1"):
            await waiting
    names = ("waiting", "waited_total", "timeouts_total")
    assert counted(database, *names) == [0, 1, 1]
    assert await process_of(database)


async def test_an_old_connection_is_recycled_and_a_broken_one_invalidated(
    opened: Open, database_uri: str
) -> None:
    database = opened(pool_recycle=0)
    first = await process_of(database)
    [before] = counted(database, "recycled_total")
    assert await process_of(database) != first
    assert counted(database, "recycled_total", "invalidated_total") == [before + 1, 0]
    database = opened(pool_pre_ping="never")
    await process_of(database)
    await end_backends(database_uri)
    with pytest.raises(Exception, match=r"terminat|closed"):
        await process_of(database)
    assert counted(database, "recycled_total", "invalidated_total") == [0, 1]


@pytest.mark.parametrize("policy", ["always", True, "idle", "never", False])
async def test_a_connection_is_asked_by_the_policy(opened: Open, policy: bool | str) -> None:
    """Here every idle one counts as idle for long."""
    database = opened(pool_pre_ping=policy, ping_after=1e-6)
    for _ in range(3):
        await process_of(database)
        async with database.reading() as connection:
            await connection.execute(text("SELECT 1"))
    asked = 4 if policy in ("always", True, "idle") else 0  # what is new isn't asked
    assert counted(database, "pings_total", "pings_failed_total") == [asked, 0]


async def test_a_connection_that_was_just_used_is_not_asked(opened: Open) -> None:
    database = opened(ping_after=60.0)
    for _ in range(3):
        await process_of(database)
        async with database.reading() as connection:
            await connection.execute(text("SELECT 1"))
    assert counted(database, "pings_total") == [0]


async def test_who_comes_after_a_restart_gets_a_living_connection(
    opened: Open, database_uri: str
) -> None:
    database = opened(ping_after=1e-6)
    await process_of(database)
    async with database.reading() as connection:
        await connection.execute(text("SELECT 1"))
    await end_backends(database_uri)
    assert await process_of(database)
    async with database.reading() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    assert counted(database, "pings_failed_total", "invalidated_total")[0] >= 1


async def test_the_last_connection_used_is_the_first_to_be_lent(opened: Open) -> None:
    for lifo in (True, False):
        database = opened(pool_use_lifo=lifo)
        async with database.connecting() as one, database.connecting() as two:
            first = await one.scalar(text("SELECT pg_backend_pid()"))
            await two.execute(text("SELECT 1"))
        assert (await process_of(database) == first) is lifo


def test_an_option_that_is_not_one_is_named() -> None:
    with pytest.raises(settings.SettingsError, match="pool_preping"):
        settings.load({"SQLALCHEMY_ENGINE_OPTIONS": '{"pool_preping": true}'})


def test_sqlalchemys_own_words_for_the_ping_are_taken() -> None:
    given = {"SQLALCHEMY_ENGINE_OPTIONS": '{"pool_pre_ping": true, "pool_use_lifo": false}'}
    options = settings.load(given).settings.sqlalchemy_engine_options
    assert (options.pool_pre_ping, options.pool_use_lifo) == (True, False)


def test_every_figure_is_explained() -> None:
    explained = pool.__doc__ or ""
    assert [name for name in pool.NAMES if name not in explained] == []
