"""Freelancers with a profile, and what a problem says is wrong with one."""

from typing import Any

import httpx

from tests.factories import Person, sign_up


async def profile(client: httpx.AsyncClient, name: str, **patch: Any) -> Person:
    """A freelancer with a profile."""
    person = await sign_up(client, patch.pop("role", "freelancer"), name=name)
    if patch:
        answer = await person.patch("/users/me", patch)
        assert answer.status_code == 200, answer.text
    return person


def pointers(answer: httpx.Response) -> list[str]:
    """What a 422 names, sorted."""
    assert answer.status_code == 422, answer.text
    return sorted(fault["pointer"] for fault in answer.json()["errors"])
