"""The primary is killed under load, its synchronous replica is promoted, and nothing is lost."""

import asyncio
from collections.abc import Iterator
from itertools import count
from time import monotonic
from typing import Any

import httpx
import pytest

from mercenary.db.migrate import upgrade
from mercenary.db.replicas import Replica, Replicas
from tests.conftest import server_folder
from tests.factories import Person, new_project, sign_up
from tests.replicas.servers import Server

WRITERS = 8
RECOVERY_SECONDS = 30.0
TOKEN = "X-Consistency-Token"
ANEW = {"Cache-Control": "no-cache"}


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Server, Server]]:
    """A primary, and the replica without which nothing is committed."""
    with server_folder() as one, server_folder() as other:
        primary, standby = Server(one), Server(other)
        primary.start()
        primary.let_replicas_follow()
        standby.follow(primary)
        primary.run_sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.run_sql("SELECT pg_reload_conf()")
        yield primary, standby
        standby.stop()
        primary.stop()


@pytest.fixture(scope="module")
async def database_uri(pair: tuple[Server, Server]) -> str:
    """Whichever of the two takes writes."""
    primary, standby = pair
    await upgrade(primary.uri)
    hosts = f"host={primary.sockets}:5432&host={standby.sockets}:5432"
    return f"postgresql://mercenary@/mercenary?{hosts}&target_session_attrs=read-write"


@pytest.fixture(scope="module")
def changed_settings(pair: tuple[Server, Server]) -> dict[str, Any]:
    return {"replica_uris": (pair[1].uri,), "replica_lag": 1.0}


async def test_what_was_acknowledged_is_there_after_a_promotion_which_callers_outlive(
    client: httpx.AsyncClient, replicas: Replicas, pair: tuple[Server, Server]
) -> None:
    primary, standby = pair
    acknowledged: dict[int, str] = {}
    when: list[float] = []
    over = False

    async def write(person: Person) -> None:
        while not over:
            answer = await person.post("/projects", new_project(title=f"Number {next(numbers)}"))
            if answer.status_code == 201:
                acknowledged[answer.json()["id"]] = answer.json()["title"]
                when.append(monotonic())
            else:
                assert answer.status_code in (503, 504), answer.text
                await asyncio.sleep(0.05)

    async def acknowledge(more: int) -> None:
        target = len(when) + more
        async with asyncio.timeout(RECOVERY_SECONDS):
            while len(when) < target:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)

    numbers = count()
    people = [await sign_up(client) for _ in range(WRITERS)]
    writers = [asyncio.create_task(write(person)) for person in people]
    await acknowledge(50)
    first = next(iter(acknowledged))
    old = (await people[0].post("/projects", new_project())).headers[TOKEN]
    await asyncio.to_thread(primary.kill)
    standby.run_sql("SELECT pg_promote()")
    await acknowledge(50)
    over = True
    await asyncio.gather(*writers)
    for id, title in acknowledged.items():
        answer = await client.get(f"/api/v1/projects/{id}", headers=ANEW)
        assert answer.json()["title"] == title
    await is_no_replica(replicas.replicas[0])
    new = (await people[0].post("/projects", new_project())).headers[TOKEN]
    assert new > old
    for token in (old, new):
        answer = await client.get(f"/api/v1/projects/{first}", headers={TOKEN: token})
        assert answer.json()["title"] == acknowledged[first]


async def is_no_replica(former: Replica) -> None:
    """Wait until it is known that it was promoted."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while former.fault != "it is no replica (any more)":  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
