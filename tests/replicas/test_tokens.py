"""What is kept is given to whoever has a token, once the host has heard of the write."""

import asyncio

import httpx
import pytest

from tests.factories import Person, new_project
from tests.replicas.conftest import PATIENCE

TOKEN = "X-Consistency-Token"


@pytest.mark.usefixtures("relay", "replicas")
async def test_a_token_is_answered_from_what_is_kept_as_soon_as_the_write_was_heard_of(
    client: httpx.AsyncClient, owner: Person
) -> None:
    written = await owner.post("/projects", new_project())
    path = f"/api/v1/projects/{written.json()['id']}"
    token = {TOKEN: written.headers[TOKEN]}
    words: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while words[-1:] != ["hit-memory"]:
            answer = await client.get(path, headers=token)
            assert answer.json()["title"] == new_project()["title"]
            words.append(answer.headers["X-Cache"])
