"""The primary is killed under load, its synchronous replica is promoted, and nothing is lost.

The application names both servers, and the one that is to be the next primary as its replica.
"""

import asyncio
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

import httpx
import pytest

from mercenary.db.migrate import upgrade
from mercenary.db.replicas import Replicas
from mercenary.local.replication import Cluster
from tests.conftest import server_folder
from tests.factories import Person, new_project, sign_up
from tests.replicas.conftest import until
from tests.replicas.servers import kill, running

WRITERS = 8
RECOVERY_SECONDS = 30.0
TOKEN = "X-Consistency-Token"
ANEW = {"Cache-Control": "no-cache"}


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    """A primary, and the replica without which nothing is committed."""
    with server_folder() as folder, running(folder, 1, synchronous=1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
async def database_uri(pair: Cluster) -> str:
    """Whichever of the two takes writes."""
    await upgrade(pair.primary.uri)
    hosts = "&".join(f"host={each.sockets}:5432" for each in pair.members)
    return f"postgresql://mercenary@/mercenary?{hosts}&target_session_attrs=read-write"


@pytest.fixture(scope="module")
def changed_settings(pair: Cluster) -> dict[str, Any]:
    return {"replica_uris": (pair.standbys[0].uri,), "replica_lag": 1.0}


async def test_what_was_acknowledged_is_there_after_a_promotion_which_callers_outlive(
    client: httpx.AsyncClient, replicas: Replicas, pair: Cluster
) -> None:
    acknowledged: dict[int, str] = {}
    over = False

    async def write(person: Person) -> None:
        while not over:
            answer = await person.post("/projects", new_project(title=f"Number {next(numbers)}"))
            if answer.status_code == 201:
                acknowledged[answer.json()["id"]] = answer.json()["title"]
            else:
                assert answer.status_code in (503, 504), answer.text
                await asyncio.sleep(0.05)

    async def acknowledge(more: int) -> None:
        target = len(acknowledged) + more
        await until(lambda: len(acknowledged) >= target, RECOVERY_SECONDS)

    numbers = count()
    people = [await sign_up(client) for _ in range(WRITERS)]
    writers = [asyncio.create_task(write(person)) for person in people]
    await acknowledge(50)
    first = next(iter(acknowledged))
    old = (await people[0].post("/projects", new_project())).headers[TOKEN]
    former = pair.primary
    for step in (partial(kill, former), pair.promote, former.start):
        await asyncio.to_thread(step)  # before the last one no commit is acknowledged
    await acknowledge(50)
    assert former.run_sql("SELECT pg_is_in_recovery()") == "t"
    over = True
    await asyncio.gather(*writers)
    for id, title in acknowledged.items():
        answer = await client.get(f"/api/v1/projects/{id}", headers=ANEW)
        assert answer.json()["title"] == title
    promoted = replicas.replicas[0]
    await until(lambda: promoted.fault == "it is no replica (any more)", RECOVERY_SECONDS)
    new = (await people[0].post("/projects", new_project())).headers[TOKEN]
    assert new > old
    for token in (old, new):
        answer = await client.get(f"/api/v1/projects/{first}", headers={TOKEN: token})
        assert answer.json()["title"] == acknowledged[first]
