"""A worker dies at the worst moments of a write, and it was made and told of exactly once."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from mercenary.local.stack import Stack
from tests.factories import PASSWORD, new_account, new_project
from tests.faults.conftest import eventually


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a file arms a crash point."""
    return tmp_path_factory.mktemp("crash-points")


@pytest.fixture(scope="module")
def stack(points: Path) -> Iterator[Stack]:
    with Stack(workers=2, environment={"MERCENARY_CRASH_POINTS": str(points)}) as stack:
        yield stack


@pytest.fixture(scope="module")
def headers(stack: Stack) -> dict[str, str]:
    """Of a client who is signed in."""
    account = new_account(email="crash@example.com")
    login = {"email": account["email"], "password": PASSWORD}
    with httpx.Client(base_url=f"{stack.url}/api/v1") as client:
        assert client.post("/auth/register", json=account).status_code == 201
        token = client.post("/auth/login", json=login).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


def post(stack: Stack, headers: dict[str, str], body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{stack.url}/api/v1/projects", json=body, headers=headers, timeout=20)


def post_until_answered(
    stack: Stack, headers: dict[str, str], body: dict[str, Any]
) -> httpx.Response:
    """Send again, as clients do, while workers die and are replaced."""
    answers: list[httpx.Response] = []

    def answered() -> bool:
        try:
            answers.append(post(stack, headers, body))
        except httpx.TransportError:
            return False
        return answers[-1].status_code < 500

    eventually(answered, "an answer from a worker that lives")
    return answers[-1]


@pytest.fixture(scope="module", autouse=True)
def silent(stack: Stack) -> Iterator[None]:
    """No relay takes from the outbox what is told."""
    relay = next(one for one in stack.state.services if one.name == "relay")
    assert relay.mark is not None
    os.kill(relay.mark.pid, signal.SIGSTOP)
    yield
    os.kill(relay.mark.pid, signal.SIGCONT)


async def told(stack: Stack) -> int:
    """How many new projects the outbox tells of."""
    connection = await asyncpg.connect(stack.database_uri)
    try:
        query = "SELECT count(*) FROM outbox WHERE name = 'project.created'"
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


async def titled(stack: Stack, title: str) -> list[int]:
    connection = await asyncpg.connect(stack.database_uri)
    try:
        found = await connection.fetch("SELECT id FROM projects WHERE title = $1", title)
    finally:
        await connection.close()
    return [row["id"] for row in found]


@pytest.mark.parametrize(
    ("point", "was_committed"),
    [("before-change", False), ("before-commit", False), ("after-commit", True)],
)
async def test_a_write_whose_worker_dies_happens_once(
    stack: Stack, headers: dict[str, str], points: Path, point: str, was_committed: bool
) -> None:
    title = f"Dies {point}"
    keyed = headers | {"Idempotency-Key": f"dies-{point}"}
    before = await told(stack)
    (points / point).touch()
    with pytest.raises(httpx.TransportError):
        post(stack, keyed, new_project(title=title))
    assert not (points / point).exists(), "the worker died somewhere else"
    assert len(await titled(stack, title)) == was_committed
    assert await told(stack) == before + was_committed

    answer = post_until_answered(stack, keyed, new_project(title=title))
    assert answer.status_code == 201
    assert ("idempotency-replayed" in answer.headers) == was_committed
    again = post_until_answered(stack, keyed, new_project(title=title))
    assert again.content == answer.content
    assert await titled(stack, title) == [answer.json()["id"]]
    assert await told(stack) == before + 1
