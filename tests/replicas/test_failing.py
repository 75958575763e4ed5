"""Replicas that lag, die, hang or are promoted are left out, and callers notice nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from mercenary.db.replicas import Replica, Replicas
from mercenary.local.postgres import EmbeddedPostgres
from tests.factories import Person, post_project
from tests.replicas.conftest import forget_last_write, known, until, without_valkey
from tests.replicas.servers import frozen, kill, paused

Standbys = Sequence[EmbeddedPostgres]
READERS = 8
LAG = 0.25


@pytest.fixture(scope="module")
def changed_settings(replica_uris: tuple[str, ...]) -> dict[str, Any]:
    return {"replica_uris": replica_uris, "replica_lag": LAG}


@pytest.fixture(scope="module")
async def projects(owner: Person) -> list[int]:
    return [(await post_project(owner))["id"] for _ in range(3)]


@asynccontextmanager
async def under_load(client: httpx.AsyncClient, projects: list[int]) -> AsyncIterator[list[int]]:
    """Guests read pages that nobody has asked for before, and each is answered within the block.

    Gives the statuses of the answers.
    """
    statuses: list[int] = []
    over = False

    async def read(number: int) -> None:
        count = 0
        while not over:
            count += 1
            limits = {"limit": str(1 + count % 50), "min_budget": f"{1 + number}.{count % 100:02}"}
            path = f"/api/v1/projects/{projects[count % len(projects)]}"
            answers = (await client.get("/api/v1/projects", params=limits), await client.get(path))
            statuses.extend(answer.status_code for answer in answers)

    readers = [asyncio.create_task(read(number)) for number in range(READERS)]
    try:
        yield statuses
    finally:
        over = True
        await asyncio.gather(*readers)
    assert set(statuses) == {200}


async def more(replicas: Replicas, runs: int = 5) -> None:
    """Wait until replicas have answered some more."""
    before = replicas.measures.answered
    await known(replicas, lambda: replicas.measures.answered >= before + runs)


async def left_out(*left: Replica) -> None:
    """Wait until replicas aren't used any more."""
    await until(lambda: all(each.fault is not None for each in left))


async def used_again(replicas: Replicas) -> None:
    """Wait until all replicas are used, and have answered some more."""
    await known(replicas, lambda: all(each.fault is None for each in replicas.replicas))
    await more(replicas)


async def test_one_that_lags_is_left_out_under_load_and_used_again(
    client: httpx.AsyncClient,
    projects: list[int],
    owner: Person,
    replicas: Replicas,
    replica_uris: tuple[str, ...],
) -> None:
    async with under_load(client, projects):
        async with paused(replica_uris[0]):
            await owner.patch(f"/projects/{projects[0]}", {"title": "Which it lacks"})
            await left_out(replicas.replicas[0])
            await more(replicas)  # the other one goes on
            answer = await client.get(f"/api/v1/projects/{projects[0]}")
            assert answer.json()["title"] == "Which it lacks"
        await used_again(replicas)


async def test_one_that_is_killed_in_the_middle_of_reads_costs_nobody_an_answer(
    client: httpx.AsyncClient, projects: list[int], replicas: Replicas, standbys: Standbys
) -> None:
    async with under_load(client, projects):
        await more(replicas)
        kill(standbys[0])
        await left_out(replicas.replicas[0])
        await more(replicas)
        await asyncio.to_thread(standbys[0].start)
        await used_again(replicas)


async def test_one_that_hangs_gives_its_reads_to_the_primary(
    client: httpx.AsyncClient, projects: list[int], replicas: Replicas, standbys: Standbys
) -> None:
    async with under_load(client, projects) as statuses:
        await more(replicas)
        with frozen(standbys[0]):
            await left_out(replicas.replicas[0])
            before = len(statuses)
            await more(replicas)
            assert len(statuses) > before
        await used_again(replicas)


async def test_without_any_replica_everything_is_answered_by_the_primary(
    client: httpx.AsyncClient,
    projects: list[int],
    owner: Person,
    replicas: Replicas,
    standbys: Standbys,
) -> None:
    async with under_load(client, projects):
        for server in standbys:
            kill(server)
        await left_out(*replicas.replicas)
        draft = await post_project(owner, status="draft")
        assert (await owner.get(f"/projects/{draft['id']}")).status_code == 200
        assert (await client.get("/api/v1/projects?limit=7")).status_code == 200
        for server in standbys:
            await asyncio.to_thread(server.start)
        await used_again(replicas)


async def test_a_write_that_valkey_cannot_be_told_of_is_answered_when_replicas_in_use_have_it(
    owner: Person, replicas: Replicas, replica_uris: tuple[str, ...]
) -> None:
    await forget_last_write(owner)
    async with paused(replica_uris[0]), paused(replica_uris[1]):
        async with without_valkey():
            draft = await post_project(owner, status="draft")
        assert (await owner.get(f"/projects/{draft['id']}")).status_code == 200
