"""Callers who go away in the middle of a request take nothing with them."""

import asyncio

import asyncpg
import httpx

from mercenary.app import Application
from mercenary.db import engine
from tests.factories import new_account, new_project, post_project, sign_up


async def test_a_storm_of_cancelled_requests_leaks_no_connection(
    client: httpx.AsyncClient, application: Application, database_uri: str
) -> None:
    owner = await sign_up(client)
    project = await post_project(owner)
    path = f"/projects/{project['id']}"
    finished = 0
    for wave in range(20):
        storm = [
            asyncio.create_task(request)
            for number in range(10)
            for request in (
                owner.get(path),
                owner.get(f"/projects?min_budget={number + 1}"),
                owner.patch(path, {"budget": wave + 1}),
                owner.post("/projects", new_project()),
                client.post("/api/v1/auth/register", json=new_account()),
            )
        ]
        for _ in range(wave):
            await asyncio.sleep(0)
        for task in storm[wave % 2 :: 2]:
            task.cancel()
        outcomes = await asyncio.gather(*storm, return_exceptions=True)
        finished += sum(isinstance(outcome, httpx.Response) for outcome in outcomes)
    database = engine.current()
    await asyncio.gather(*(batch.drain() for batch in database.batches.values()))

    pool = database.engine.sync_engine.pool
    held, idle = pool.checkedout(), pool.checkedin()  # type: ignore[attr-defined]
    connection = await asyncpg.connect(database_uri)
    states = await connection.fetch(
        "SELECT state FROM pg_stat_activity"
        " WHERE application_name = 'mercenary' AND datname = current_database()"
    )
    await connection.close()
    assert finished >= 20 * 25
    # Each lane keeps one to read by and one to write by; everything else is back.
    assert held <= 2 * application.settings.batch_lanes
    assert len(states) == held + idle
    assert {row["state"] for row in states} == {"idle"}
    assert (await owner.get(path)).status_code == 200
