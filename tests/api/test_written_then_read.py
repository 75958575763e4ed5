"""What was written is what everybody reads next, on every worker of the host, however often."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from mercenary.local.stack import Stack
from tests.factories import (
    Person,
    new_project,
    post_project,
    sign_up,
    sign_up_admin,
    submit_proposal,
)
from tests.generous import GENEROUS

TIMES = 8
READERS = 8
LIST_SECONDS = 1.0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Two workers behind one port, and a relay."""
    with Stack(workers=2, environment=GENEROUS) as stack:
        yield stack


@pytest.fixture(scope="module")
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """Each request has a connection of its own, so that either worker may get it."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=stack.url, limits=limits, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
async def admin(client: httpx.AsyncClient, stack: Stack) -> Person:
    return await sign_up_admin(client, stack.database_uri)


async def read(client: httpx.AsyncClient, path: str) -> list[httpx.Response]:
    """What many guests are answered at once."""
    return await asyncio.gather(*(client.get(f"/api/v1{path}") for _ in range(READERS)))


async def shows(
    client: httpx.AsyncClient,
    path: str,
    write: Callable[[], Awaitable[httpx.Response]],
    seen: Callable[[httpx.Response], Any],
    expected: Any,
) -> None:
    """The answers are kept by all, then it is written, then all show it."""
    await read(client, path)
    written = await write()
    assert written.is_success, written.text
    assert {seen(answer) for answer in await read(client, path)} == {expected}


async def test_a_changed_project_is_seen_changed(client: httpx.AsyncClient) -> None:
    ada = await sign_up(client)
    project = await post_project(ada)
    path = f"/projects/{project['id']}"
    for number in range(TIMES):
        title = f"Title {number}"
        await shows(
            client,
            path,
            lambda title=title: ada.patch(path, {"title": title}),  # type: ignore[misc]
            lambda answer: answer.json()["title"],
            title,
        )
    await shows(
        client,
        path,
        lambda: ada.patch(path, {"status": "cancelled"}),
        lambda answer: answer.json()["status"],
        "cancelled",
    )


async def test_a_draft_is_seen_once_it_is_open(client: httpx.AsyncClient) -> None:
    ada = await sign_up(client)
    for _ in range(TIMES):
        draft = await post_project(ada, status="draft")
        path = f"/projects/{draft['id']}"
        await shows(
            client,
            path,
            lambda path=path: ada.patch(path, {"status": "open"}),  # type: ignore[misc]
            lambda answer: answer.status_code,
            200,
        )


async def test_an_accepted_proposal_is_seen_in_its_project(client: httpx.AsyncClient) -> None:
    ada, bob = await sign_up(client), await sign_up(client, "freelancer")
    for _ in range(TIMES):
        project = await post_project(ada)
        proposal = await submit_proposal(bob, project["id"])
        accept = f"/proposals/{proposal['id']}/accept"
        await shows(
            client,
            f"/projects/{project['id']}",
            lambda accept=accept: ada.post(accept),  # type: ignore[misc]
            lambda answer: answer.json()["status"],
            "in_progress",
        )


async def test_a_changed_user_is_seen_changed_and_one_who_left_not_at_all(
    client: httpx.AsyncClient, admin: Person
) -> None:
    bob = await sign_up(client, "freelancer")
    path = f"/users/{bob.id}"
    skill = (await admin.post("/skills", {"name": "Beekeeping"})).json()["id"]
    for number in range(TIMES):
        bio = f"Bio {number}"
        await shows(
            client,
            path,
            lambda bio=bio: bob.patch("/users/me", {"bio": bio}),  # type: ignore[misc]
            lambda answer: answer.json()["bio"],
            bio,
        )
    skills = [{"skill_id": skill, "level": 3}]
    await shows(
        client,
        path,
        lambda: bob.request("PUT", "/users/me/skills", json=skills),
        lambda answer: str(answer.json()["skills"]),
        str(skills),
    )
    await shows(
        client,
        path,
        lambda: bob.request("DELETE", "/users/me"),
        lambda answer: answer.status_code,
        404,
    )


async def test_a_new_skill_and_a_new_user_are_seen(
    client: httpx.AsyncClient, admin: Person
) -> None:
    for number in range(TIMES):
        skill = (await admin.post("/skills", {"name": f"Skill {number}"})).json()
        user = (await sign_up(client)).user
        for path in (f"/skills/{skill['id']}", f"/users/{user['id']}"):
            assert {answer.status_code for answer in await read(client, path)} == {200}


async def test_a_session_that_was_ended_reads_nothing_more(client: httpx.AsyncClient) -> None:
    for _ in range(TIMES):
        bob = await sign_up(client)
        for path in ("/projects", "/users/me"):
            answers = await asyncio.gather(*(bob.get(path) for _ in range(READERS)))
            assert {answer.status_code for answer in answers} == {200}
        assert (await bob.post("/auth/logout")).status_code == 204
        for path in ("/projects", "/users/me"):
            answers = await asyncio.gather(*(bob.get(path) for _ in range(READERS)))
            assert {answer.status_code for answer in answers} == {401}


async def test_a_list_that_is_asked_for_a_second_later_shows_it(client: httpx.AsyncClient) -> None:
    ada = await sign_up(client)
    path = f"/projects?client_id={ada.id}&include=total"
    for number in range(3):
        await read(client, path)
        posted = await ada.post("/projects", new_project())
        written = time.monotonic()
        shown = False
        while not shown:
            begun = time.monotonic()
            answers = [answer.json() for answer in await read(client, path)]
            shown = all(
                posted.json()["id"] in {item["id"] for item in answer["items"]}
                and answer["total"] == number + 1
                for answer in answers
            )
            assert shown or begun - written < LIST_SECONDS
