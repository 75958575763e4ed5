"""Replicas that lag, die, hang or are promoted are left out, and callers notice nothing."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest

from mercenary.cache import valkey
from mercenary.db.replicas import Replica, Replicas
from tests.factories import Person, post_project
from tests.replicas.conftest import known, without_valkey
from tests.replicas.servers import Server, paused

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
    """Guests read pages that nobody has asked for before; gives the statuses of the answers."""
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


async def more(replicas: Replicas, runs: int = 5) -> None:
    """Wait until replicas have answered some more."""
    before = replicas.measures.answered
    await known(replicas, lambda: replicas.measures.answered >= before + runs)


async def left_out(replica: Replica) -> None:
    async with asyncio.timeout(20):
        while replica.fault is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """A server whose every process stands still."""
    processes = server.processes
    for each in processes:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in processes:
            os.kill(each, signal.SIGCONT)


async def test_one_that_lags_is_left_out_under_load_and_used_again(
    client: httpx.AsyncClient,
    projects: list[int],
    owner: Person,
    replicas: Replicas,
    standbys: list[Server],
    replica_uris: tuple[str, ...],
) -> None:
    lagging = replicas.replicas[0]
    async with under_load(client, projects) as statuses:
        async with paused(replica_uris[0]):
            await owner.patch(f"/projects/{projects[0]}", {"title": "Which it lacks"})
            await left_out(lagging)
            await more(replicas)  # the other one goes on
            answer = await client.get(f"/api/v1/projects/{projects[0]}")
            assert answer.json()["title"] == "Which it lacks"
        await known(replicas, lambda: lagging.fault is None)
        await more(replicas)
    assert set(statuses) == {200}


async def test_one_that_is_killed_in_the_middle_of_reads_costs_nobody_an_answer(
    client: httpx.AsyncClient, projects: list[int], replicas: Replicas, standbys: list[Server]
) -> None:
    dead = replicas.replicas[0]
    async with under_load(client, projects) as statuses:
        await more(replicas)
        standbys[0].kill()
        await left_out(dead)
        await more(replicas)
        await asyncio.to_thread(standbys[0].start)
        await known(replicas, lambda: dead.fault is None)
        await more(replicas)
    assert set(statuses) == {200}


async def test_one_that_hangs_gives_its_reads_to_the_primary(
    client: httpx.AsyncClient, projects: list[int], replicas: Replicas, standbys: list[Server]
) -> None:
    hanging = replicas.replicas[0]
    async with under_load(client, projects) as statuses:
        await more(replicas)
        with frozen(standbys[0]):
            await left_out(hanging)
            before = len(statuses)
            await more(replicas)
            assert len(statuses) > before
        await known(replicas, lambda: hanging.fault is None)
    assert set(statuses) == {200}


async def test_without_any_replica_everything_is_answered_by_the_primary(
    client: httpx.AsyncClient,
    projects: list[int],
    owner: Person,
    replicas: Replicas,
    standbys: list[Server],
) -> None:
    async with under_load(client, projects) as statuses:
        for server in standbys:
            server.kill()
        for each in replicas.replicas:
            await left_out(each)
        draft = await post_project(owner, status="draft")
        assert (await owner.get(f"/projects/{draft['id']}")).status_code == 200
        assert (await client.get("/api/v1/projects?limit=7")).status_code == 200
        for server in standbys:
            await asyncio.to_thread(server.start)
        await known(replicas, lambda: all(each.fault is None for each in replicas.replicas))
    assert set(statuses) == {200}


async def test_a_write_that_valkey_cannot_be_told_of_is_answered_when_replicas_in_use_have_it(
    owner: Person, replicas: Replicas, replica_uris: tuple[str, ...]
) -> None:
    await valkey.current().ask(lambda redis: redis.delete(f"wrote:{owner.id}"))
    async with paused(replica_uris[0]), paused(replica_uris[1]):
        async with without_valkey():
            draft = await post_project(owner, status="draft")
        assert (await owner.get(f"/projects/{draft['id']}")).status_code == 200
