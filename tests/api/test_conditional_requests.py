"""Conditional requests: what is known isn't sent, and what isn't known isn't changed."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from mercenary.app import ENDPOINTS
from mercenary.http.endpoint import BASE_PATH, Endpoint
from mercenary.http.invocation import Signature
from tests.factories import Person, post_project, sign_up, sign_up_admin, submit_proposal

READS = [each for each in ENDPOINTS if each.method == "GET" and Signature(each).resource]
CHANGES = [each for each in ENDPOINTS if each.method in ("PUT", "PATCH", "DELETE")]
BODIES: dict[str, Any] = {
    "change_own_user": {"headline": "Changed"},
    "replace_own_skills": [],
    "change_project": {"title": "Another title"},
    "change_proposal": {"bid": "900.00"},
}


@dataclass
class Things:
    """People, and what they have: a draft, an open project, a bid for it, a skill."""

    client: Person
    freelancer: Person
    admin: Person
    ids: dict[str, int]

    def asks(self, endpoint: Endpoint) -> tuple[Person, str]:
        """Somebody who may ask for it, and the path of what is theirs."""
        kind = endpoint.path.split("/")[1]
        roles = endpoint.access.roles or {"client"}
        person = self.client if "client" in roles else self.freelancer
        if kind == "proposals":
            person = self.freelancer
        id = self.ids.get("draft" if endpoint.name == "delete_project" else kind)
        return person, endpoint.path.replace("{id}", str(id))


@pytest.fixture
async def things(client: httpx.AsyncClient, database_uri: str) -> Things:
    owner, freelancer = await sign_up(client), await sign_up(client, "freelancer")
    admin = await sign_up_admin(client, database_uri)
    skill = await admin.post("/skills", {"name": f"Skill of {owner.id}"})
    project = await post_project(owner)
    ids = {
        "users": owner.id,
        "skills": skill.json()["id"],
        "draft": (await post_project(owner, status="draft"))["id"],
        "projects": project["id"],
        "proposals": (await submit_proposal(freelancer, project["id"]))["id"],
    }
    return Things(owner, freelancer, admin, ids)


async def state_of(things: Things, endpoint: Endpoint) -> str:
    """The tag of what an endpoint changes."""
    person, path = things.asks(endpoint)
    answer = await person.get("/users/me" if path.startswith("/users/me") else path)
    return answer.headers["etag"]


async def test_a_resources_tag_is_its_id_and_version(things: Things) -> None:
    id, owner = things.ids["draft"], things.client
    changed = await owner.patch(f"/projects/{id}", {"title": "Another title"})
    assert changed.headers["etag"] == f'"{id}-2"' == f'"{id}-{changed.json()["version"]}"'
    assert (await owner.get(f"/projects/{id}")).headers["etag"] == f'"{id}-2"'


@pytest.mark.parametrize("endpoint", READS, ids=lambda endpoint: endpoint.name)
async def test_every_read_tells_whoever_has_it_so(endpoint: Endpoint, things: Things) -> None:
    person, path = things.asks(endpoint) if endpoint.base == BASE_PATH else (things.client, "")
    path = endpoint.base + path or endpoint.path
    get = things.client.client.get
    answer = await get(path, headers=person.headers)
    tag = answer.headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = await get(path, headers=person.headers | {"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        kept = ("etag", "vary", "cache-control")
        assert [again.headers[name] for name in kept] == [answer.headers[name] for name in kept]
        assert "content-length" not in again.headers
    other = await get(path, headers=person.headers | {"If-None-Match": '"0-0"'})
    assert (other.status_code, other.content) == (200, answer.content)


async def test_a_list_has_another_tag_as_soon_as_something_in_it_changes(things: Things) -> None:
    path = f"/projects?client_id={things.client.id}"
    before = (await things.client.get(path)).headers["etag"]
    assert (await things.client.get(path)).headers["etag"] == before
    await things.client.patch(f"/projects/{things.ids['projects']}", {"budget": "7"})
    assert (await things.client.get(path)).headers["etag"] != before


def test_everything_that_changes_something_takes_conditions() -> None:
    assert [each.name for each in CHANGES if not Signature(each).takes_if_match] == []


@pytest.mark.parametrize("endpoint", CHANGES, ids=lambda endpoint: endpoint.name)
async def test_a_stale_change_is_refused_and_a_fresh_one_made(
    endpoint: Endpoint, things: Things
) -> None:
    person, path = things.asks(endpoint)
    before = await state_of(things, endpoint)

    async def change(if_match: str) -> httpx.Response:
        return await person.request(
            endpoint.method, path, json=BODIES.get(endpoint.name), headers={"If-Match": if_match}
        )

    for stale in ('"1-1000"', f"W/{before}", f'{before[:-1]}0"'):
        refused = await change(stale)
        assert refused.status_code == 412, refused.text
        assert refused.json()["type"] == "/problems/precondition-failed"
        assert refused.headers["etag"] == before
        assert await state_of(things, endpoint) == before
    broken = await change("no tag")
    assert (broken.status_code, broken.json()["errors"][0]["pointer"]) == (422, "If-Match")
    done = await change(f'"x", {before}')
    assert done.status_code in (200, 204), done.text
    if "etag" in done.headers:
        assert await state_of(things, endpoint) == done.headers["etag"] != before


async def test_who_may_not_change_it_learns_nothing_of_its_state(things: Things) -> None:
    other = await sign_up(things.client.client)
    headers = {"If-Match": '"1-1000"'}
    draft, project = (f"/projects/{things.ids[name]}" for name in ("draft", "projects"))
    hidden = await other.request("DELETE", draft, headers=headers)
    assert (hidden.status_code, "etag" in hidden.headers) == (404, False)
    foreign = await other.request("PATCH", project, json={"budget": "1"}, headers=headers)
    assert (foreign.status_code, "etag" in foreign.headers) == (403, False)


async def test_of_many_changes_of_one_state_exactly_one_is_made(things: Things) -> None:
    path = f"/projects/{things.ids['projects']}"
    tag = (await things.client.get(path)).headers["etag"]
    answers = await asyncio.gather(
        *(
            things.client.request(
                "PATCH", path, json={"title": f"Title {number}"}, headers={"If-Match": tag}
            )
            for number in range(20)
        )
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 19}
    (won,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert (await things.client.get(path)).json() == won
