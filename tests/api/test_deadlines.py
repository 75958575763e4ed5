"""A request's time is bounded, from its arrival down to the database."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from tests.factories import post_project, sign_up


@pytest.fixture(scope="module")
def changed_settings() -> dict[str, Any]:
    """A request has two seconds, and the database by itself far more."""
    return {"request_deadline": 2.0, "statement_timeout": 30.0, "lock_timeout": 30.0}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - another process's state has no event
            await asyncio.sleep(0.01)


async def test_a_write_that_waits_too_long_is_told_so_and_stops_in_the_database(
    client: httpx.AsyncClient, database_uri: str
) -> None:
    owner = await sign_up(client)
    project = await post_project(owner)
    other = await asyncpg.connect(database_uri)
    async with other.transaction():
        await other.execute("SELECT 1 FROM projects WHERE id = $1 FOR UPDATE", project["id"])
        late = await owner.patch(f"/projects/{project['id']}", {"title": "Too late for this"})
        assert (late.status_code, late.json()["type"]) == (504, "/problems/deadline-exceeded")

        async def nothing_waits_for_the_lock() -> bool:
            return not await other.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )

        # The lock is still held and lock_timeout far away: it is the time left that ran out.
        await until(nothing_waits_for_the_lock)
    await other.close()
    shown = await owner.get(f"/projects/{project['id']}")
    assert shown.json()["title"] == project["title"]
