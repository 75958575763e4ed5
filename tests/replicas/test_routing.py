"""Nobody sees less than what they wrote, though replicas that are far behind stay in use here."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from mercenary.cache import valkey
from mercenary.db.replicas import Replicas
from mercenary.local.postgres import EmbeddedPostgres
from tests.factories import Person, new_project, post_project, sign_up
from tests.replicas.conftest import (
    PATIENCE,
    answering,
    caught_up,
    forget_last_write,
    without_valkey,
)
from tests.replicas.servers import paused, setting

TOKEN = "X-Consistency-Token"


@pytest.fixture
async def stopped(
    replicas: Replicas, replica_uris: tuple[str, ...], owner: Person
) -> AsyncIterator[None]:
    """From here on no replica replays anything; all of them are in use."""
    await caught_up(replicas)
    async with AsyncExitStack() as stack:
        for uri in replica_uris:
            await stack.enter_async_context(paused(uri))
        yield


async def title(client: httpx.AsyncClient, id: int, **headers: str) -> Any:
    """What a guest is shown."""
    answer = await client.get(f"/api/v1/projects/{id}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["title"]


async def test_what_everybody_may_see_is_read_from_a_replica(
    client: httpx.AsyncClient, owner: Person, replicas: Replicas
) -> None:
    project = await post_project(owner)
    await caught_up(replicas)
    with answering(replicas, 1, 1):
        assert await title(client, project["id"]) == project["title"]


async def test_a_list_its_total_and_a_search_are_read_from_replicas(
    client: httpx.AsyncClient, owner: Person, replicas: Replicas
) -> None:
    await caught_up(replicas)
    with answering(replicas, 2):
        answer = await client.get("/api/v1/projects", params={"q": "billing", "include": "total"})
    assert answer.status_code == 200, answer.text


@pytest.fixture
def lazy(primary: EmbeddedPostgres) -> Iterator[None]:
    """The primary flushes nothing by itself; those who commit do."""
    with setting(primary, "wal_writer_delay", "10s"):
        yield


@pytest.mark.usefixtures("lazy")
async def test_what_waits_for_the_next_commit_to_be_flushed_leaves_no_replica_out(
    primary: EmbeddedPostgres, replicas: Replicas
) -> None:
    """As hints on rows do, for as long as nobody writes."""
    unflushed = "SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()"
    message = "SELECT pg_logical_emit_message(false, 'hint', 'of no consequence')"
    async with asyncio.timeout(PATIENCE):
        primary.run_sql(message)
        await asyncio.sleep(0.3)  # longer than its writer is idle before it has heard
        while primary.run_sql(unflushed) != "t":
            primary.run_sql(message)
            await asyncio.sleep(0.3)
    await caught_up(replicas)
    assert primary.run_sql(unflushed) == "t"


async def test_no_cache_asks_the_primary(
    client: httpx.AsyncClient, owner: Person, replicas: Replicas
) -> None:
    project = await post_project(owner)
    await caught_up(replicas)
    with answering(replicas, 0, 0):
        assert await title(client, project["id"], **{"Cache-Control": "no-cache"})


@pytest.mark.usefixtures("stopped")
async def test_nothing_is_kept_of_a_replica_that_lacks_the_write_that_emptied_the_entry(
    client: httpx.AsyncClient, owner: Person, replicas: Replicas
) -> None:
    project = await post_project(owner)
    for number in range(5):
        changed = await owner.patch(f"/projects/{project['id']}", {"title": f"Title {number}"})
        assert changed.status_code == 200, changed.text
        for _ in range(3):
            assert await title(client, project["id"]) == f"Title {number}"
    assert replicas.measures.behind > 0


@pytest.mark.usefixtures("stopped")
async def test_what_did_not_change_is_still_read_from_replicas_that_stand_still(
    client: httpx.AsyncClient, owner: Person, replicas: Replicas
) -> None:
    with answering(replicas, 1, 1):
        await post_project(owner)
        assert (await client.get(f"/api/v1/users/{owner.id}")).status_code == 200


@pytest.mark.usefixtures("stopped")
async def test_owners_see_their_draft_at_once_because_their_last_write_is_known(
    owner: Person,
) -> None:
    """No clock is moved by a draft, so nothing else would keep a replica from answering."""
    draft = await post_project(owner, status="draft")
    assert (await owner.get(f"/projects/{draft['id']}")).status_code == 200


@pytest.mark.usefixtures("stopped")
async def test_where_the_last_write_is_forgotten_a_replica_shows_the_state_before(
    owner: Person,
) -> None:
    """Which shows that the tests around this one would find it."""
    draft = await post_project(owner, status="draft")
    await forget_last_write(owner)
    assert (await owner.get(f"/projects/{draft['id']}")).status_code == 404


@pytest.mark.usefixtures("stopped")
async def test_who_cannot_be_told_of_the_last_write_is_answered_by_the_primary(
    owner: Person,
) -> None:
    draft = await post_project(owner, status="draft")
    await forget_last_write(owner)
    async with without_valkey():
        assert (await owner.get(f"/projects/{draft['id']}")).status_code == 200


@pytest.mark.usefixtures("stopped")
async def test_a_token_shows_the_write_to_whoever_has_it(
    client: httpx.AsyncClient, owner: Person, replicas: Replicas
) -> None:
    draft = await owner.post("/projects", new_project(status="draft"))
    id = draft.json()["id"]
    await forget_last_write(owner)
    seen = await owner.get(f"/projects/{id}", headers={TOKEN: draft.headers[TOKEN]})
    assert (seen.status_code, seen.headers["X-Cache"]) == (200, "bypass")


async def test_a_token_of_what_replicas_have_replayed_is_read_from_one(
    owner: Person, replicas: Replicas
) -> None:
    draft = await owner.post("/projects", new_project(status="draft"))
    await caught_up(replicas)
    token = {TOKEN: draft.headers[TOKEN]}
    with answering(replicas, 1):
        answer = await owner.get(f"/projects/{draft.json()['id']}", headers=token)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("token", ["", "nonsense", "ffffffff-ffffffffffffffff", "00000001-0"])
async def test_a_token_that_is_none_of_ours_is_answered_by_the_primary(
    client: httpx.AsyncClient, owner: Person, replicas: Replicas, token: str
) -> None:
    project = await post_project(owner)
    await caught_up(replicas)
    with answering(replicas, 0, 0):
        assert await title(client, project["id"], **{TOKEN: token})


async def test_every_write_that_succeeds_has_a_token_and_a_read_has_none(
    client: httpx.AsyncClient, owner: Person
) -> None:
    registered = await client.post("/api/v1/auth/logout-not-there")
    assert TOKEN not in registered.headers
    one = await owner.post("/projects", new_project())
    other = await owner.patch(f"/projects/{one.json()['id']}", {"title": "Another"})
    assert one.headers[TOKEN] < other.headers[TOKEN]
    assert TOKEN not in (await client.get(f"/api/v1/projects/{one.json()['id']}")).headers


async def test_a_write_that_is_answered_again_has_a_token_that_is_no_older(
    client: httpx.AsyncClient, owner: Person
) -> None:
    key = {"Idempotency-Key": "once-and-for-all-of-it"}
    first = await owner.request("POST", "/projects", json=new_project(), headers=key)
    again = await owner.request("POST", "/projects", json=new_project(), headers=key)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers[TOKEN] >= first.headers[TOKEN]


async def test_each_caller_has_a_last_write_of_their_own(
    client: httpx.AsyncClient, owner: Person
) -> None:
    async def noted(person: Person) -> Any:
        return await valkey.current().ask(lambda redis: redis.get(f"wrote:{person.id}"))

    other = await sign_up(client)
    await post_project(owner)
    before = await noted(owner)
    await post_project(other)
    assert await noted(owner) == before < await noted(other)
