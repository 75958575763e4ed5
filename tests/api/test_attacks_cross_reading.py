"""What is private to somebody, asked for by everybody else at every address that answers a GET.

Each private value is a word that occurs nowhere else. Every endpoint is asked with every id and
every value that its parameters know, by each person and a guest; then each word must have been seen
by exactly those who may see it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import urlencode

import httpx
import msgspec
import pytest

from mercenary import __version__
from mercenary.app import ENDPOINTS
from mercenary.http.endpoint import Endpoint
from mercenary.http.invocation import Signature
from mercenary.http.openapi import document
from tests.assets import SCRIPT
from tests.factories import Person, post_project, sign_up, sign_up_admin, submit_proposal

GETS = [endpoint for endpoint in ENDPOINTS if endpoint.method == "GET"]
DOCUMENT: dict[str, Any] = msgspec.json.decode(
    msgspec.json.encode(document(ENDPOINTS, version=__version__))
)
NOTHING = 4611686018427387904  # an id that nothing has
GUEST = "guest"
PASSWORD = "canarypassword of a person"


@dataclass
class Secrets:
    """People, what each of them holds private, and who besides may see it."""

    client: httpx.AsyncClient
    people: dict[str, Person]
    project: int
    draft: int
    proposals: dict[str, int]
    words: dict[str, set[str]] = field(default_factory=dict)

    async def ask(self, viewer: str, path: str, **headers: str) -> httpx.Response:
        """GET in the name of somebody, or of a guest."""
        person = self.people.get(viewer)
        return await self.client.get(path, headers=headers | (person.headers if person else {}))

    def ids(self, kind: str) -> list[int]:
        """Ids of things of one kind, and one that nothing has."""
        known = {
            "users": [person.id for person in self.people.values()],
            "projects": [self.project, self.draft],
            "proposals": [*self.proposals.values()],
            "skills": [1],
        }
        return [*known[kind], NOTHING]


@pytest.fixture(scope="module")
async def secrets(client: httpx.AsyncClient, database_uri: str) -> Secrets:
    bob = {"email": "canaryemailbob@example.com", "password": PASSWORD}
    gone = {"email": "canaryemailgone@example.com", "name": "canaryname"}
    people = {
        "ada": await sign_up(client, email="canaryemailada@example.com", password=PASSWORD),
        "bob": await sign_up(client, "freelancer", **bob),
        "eve": await sign_up(client),
        "mallory": await sign_up(client, "freelancer"),
        "gone": await sign_up(client, "freelancer", **gone),
        "admin": await sign_up_admin(client, database_uri),
    }
    project = await post_project(people["ada"])
    draft = await post_project(
        people["ada"],
        status="draft",
        title="canarytitle",
        description="canarydescription",
        budget="7654321.11",
    )
    await people["gone"].patch("/users/me", {"headline": "canaryheadline", "bio": "canarybio"})
    proposals = {
        name: await submit_proposal(
            people[name], project["id"], cover_letter=f"canarycover{name}", bid=bid
        )
        for name, bid in (("bob", "6543210.91"), ("mallory", "5432109.82"))
    }
    # The lowest bid's amount is everybody's to see, so neither of theirs is it.
    await submit_proposal(await sign_up(client, "freelancer"), project["id"], bid="1.00")
    assert (await people["gone"].request("DELETE", "/users/me")).status_code == 204
    ids = {name: made["id"] for name, made in proposals.items()}
    secrets = Secrets(client, people, project["id"], draft["id"], ids)
    for words, viewers in (
        (("canaryemailada@example.com",), {"ada", "admin"}),
        (("canaryemailbob@example.com",), {"bob", "admin"}),
        (("canarytitle", "canarydescription", "7654321.11"), {"ada", "admin"}),
        (("canarycoverbob", "6543210.91"), {"bob", "ada", "admin"}),
        (("canarycovermallory", "5432109.82"), {"mallory", "ada", "admin"}),
        (("canaryname", "canaryheadline", "canarybio"), {"admin"}),
        (("canaryemailgone@example.com",), {"admin"}),
        ((PASSWORD, "$argon2"), set[str]()),
        (tuple(person.access_token for person in people.values()), set[str]()),
        (tuple(person.refresh_token for person in people.values()), set[str]()),
    ):
        secrets.words |= dict.fromkeys(words, viewers)
    return secrets


def paths_of(endpoint: Endpoint, secrets: Secrets) -> Iterator[str]:
    """The endpoint's path, with each id."""
    if "{id}" in endpoint.route:
        kind = endpoint.path.split("/")[1]
        yield from (endpoint.route.format(id=id) for id in secrets.ids(kind))
    else:
        yield endpoint.route.format(name=SCRIPT, slug="not-found")


def queries_of(endpoint: Endpoint, secrets: Secrets) -> Iterator[str]:
    """No parameter, and each one with each value that may lead to something private."""
    yield ""
    operation = DOCUMENT["paths"][endpoint.route]["get"]
    parameters = [each for each in operation.get("parameters", []) if each["in"] == "query"]
    for parameter in parameters:
        for value in values_of(parameter["name"], parameter["schema"], endpoint, secrets):
            yield "?" + urlencode({parameter["name"]: value})
    names = {parameter["name"] for parameter in parameters}
    if {"client_id", "status"} <= names:
        for id in secrets.ids("users"):
            yield "?" + urlencode({"client_id": id, "status": "draft"})


def values_of(
    name: str, schema: dict[str, Any], endpoint: Endpoint, secrets: Secrets
) -> Iterator[Any]:
    """Values of one parameter: all that it may have where these are listed."""
    choices = [schema, schema.get("items", {}), *schema.get("anyOf", [])]
    for choice in choices:
        yield from choice.get("enum", [])
    if name == "fields":
        resource = Signature(endpoint).resource
        item = get_args(resource)[0] if get_args(resource) else resource
        yield from item.__struct_fields__
    elif name == "q":
        yield from (word for word in secrets.words if len(word) < 200)
    elif name in ("min_budget", "max_budget"):
        yield "7654321.11"
    elif name == "client_id":
        yield from secrets.ids("users")
    elif name == "limit":
        yield 100


@pytest.mark.parametrize("viewer", [GUEST, "ada", "bob", "eve", "mallory", "gone", "admin"])
async def test_everybody_sees_what_is_theirs_to_see_and_nothing_else(
    viewer: str, secrets: Secrets
) -> None:
    seen: dict[str, str] = {}
    for endpoint in GETS:
        for path in paths_of(endpoint, secrets):
            for query in queries_of(endpoint, secrets):
                answer = await secrets.ask(viewer, path + query)
                said = answer.text + str(answer.headers)
                # A list tells in its links and its faults what it was asked for.
                said = said.replace(query.removeprefix("?"), "")
                seen |= {word: path + query for word in secrets.words if word in said}
    may_see = {word for word, viewers in secrets.words.items() if viewer in viewers}
    assert {word: seen[word] for word in seen.keys() - may_see} == {}
    assert may_see - seen.keys() == set()


@pytest.mark.parametrize("viewer", [GUEST, "bob", "eve", "mallory"])
async def test_looking_for_private_words_finds_nothing(viewer: str, secrets: Secrets) -> None:
    """Not even that there is something: a search that counts would answer yes or no."""
    for path in (
        "/projects?q=canarytitle",
        "/projects?q=canarydescription&sort=-relevance",
        "/projects?min_budget=7654321.11&max_budget=7654321.11",
        "/projects?status=draft",
        f"/projects?client_id={secrets.people['ada'].id}&status=draft",
        "/users?q=canaryname",
        "/users?q=canaryheadline",
        "/users?q=canarybio",
        "/users?q=canaryemailada",
        "/users?q=canaryemailada@example.com",
    ):
        answer = await secrets.ask(viewer, f"/api/v1{path}")
        assert answer.status_code == 200
        assert (answer.json()["items"], answer.json()["next_cursor"]) == ([], None)


@pytest.mark.parametrize("viewer", [GUEST, "bob", "eve", "mallory"])
async def test_what_is_private_is_as_absent_as_what_never_was(
    viewer: str, secrets: Secrets
) -> None:
    private = [("projects", secrets.draft), ("users", secrets.people["gone"].id)]
    if viewer == "eve":
        private += [("proposals", id) for id in secrets.proposals.values()]
    for kind, id in private:
        path = f"/api/v1/{kind}/"
        for headers in ({}, {"If-None-Match": f'"{id}-1"'}, {"If-None-Match": "*"}):
            hidden = await secrets.ask(viewer, f"{path}{id}", **headers)
            absent = await secrets.ask(viewer, f"{path}{NOTHING}", **headers)
            assert hidden.status_code == absent.status_code == 404
            assert comparable(hidden, id) == comparable(absent, NOTHING)


def comparable(answer: httpx.Response, id: int) -> tuple[Any, ...]:
    """An answer without what is the request's own."""
    body = answer.json()
    body["detail"] = body["detail"].replace(str(id), "the id")
    own = {"x-request-id", "content-length"}
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in own and "ratelimit" not in name
    }
    return body | {"instance": ""}, headers


async def test_another_persons_key_replays_nothing(secrets: Secrets) -> None:
    body = {"title": "The same", "description": "Letter by letter.", "budget": 5, "currency": "EUR"}
    key = {"Idempotency-Key": "one-key-for-two"}
    first = await secrets.people["ada"].request("POST", "/projects", json=body, headers=key)
    second = await secrets.people["eve"].request("POST", "/projects", json=body, headers=key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert "idempotency-replayed" not in second.headers
    assert first.json()["id"] != second.json()["id"]
    assert second.json()["client_id"] == secrets.people["eve"].id
