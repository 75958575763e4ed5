"""`fields`: just those fields, wherever a resource is returned, and no others read for them."""

import asyncio
from typing import Any

import httpx
import pytest

from mercenary.app import ENDPOINTS
from mercenary.db import engine
from mercenary.http.endpoint import Endpoint
from mercenary.http.fields import resource_of
from mercenary.http.invocation import Signature
from mercenary.stats import service as stats
from tests.api.profiles import pointers, profile
from tests.conftest import Statements
from tests.factories import (
    Person,
    new_account,
    new_project,
    new_proposal,
    post_project,
    sign_up,
    sign_up_admin,
    submit_proposal,
)

WITH_RESOURCES = [
    endpoint for endpoint in ENDPOINTS if resource_of(Signature(endpoint).answer) is not None
]
READING = [endpoint for endpoint in WITH_RESOURCES if endpoint.method == "GET"]


def known_to(endpoint: Endpoint) -> tuple[str, ...]:
    """The fields of what the endpoint returns."""
    resource = resource_of(Signature(endpoint).answer)
    assert resource is not None
    return resource.__struct_fields__


def id_of(endpoint: Endpoint) -> str:
    return endpoint.name


@pytest.fixture(scope="module")
async def admin(client: httpx.AsyncClient, database_uri: str) -> Person:
    return await sign_up_admin(client, database_uri)


@pytest.fixture(scope="module")
async def owner(client: httpx.AsyncClient) -> Person:
    return await sign_up(client, "client")


@pytest.fixture(scope="module")
async def freelancer(client: httpx.AsyncClient, skill: int) -> Person:
    person = await profile(client, "Ada", country="GB", hourly_rate="85.00")
    await person.request("PUT", "/users/me/skills", json=[{"skill_id": skill, "level": 5}])
    return person


@pytest.fixture(scope="module")
async def skill(admin: Person) -> int:
    id = int((await admin.post("/skills", {"name": "Welding"})).json()["id"])
    assert await stats.refresh(engine.current())
    return id


@pytest.fixture(scope="module")
async def project(owner: Person, skill: int) -> dict[str, Any]:
    return await post_project(owner, skill_ids=[skill])


@pytest.fixture(scope="module")
async def proposal(freelancer: Person, project: dict[str, Any]) -> dict[str, Any]:
    return await submit_proposal(freelancer, project["id"])


@pytest.fixture(scope="module")
def paths(
    skill: int, project: dict[str, Any], proposal: dict[str, Any], freelancer: Person
) -> dict[str, str]:
    """Each route that reads resources, as something that the freelancer may see."""
    return {
        "/api/v1/users": "/users?country=GB",
        "/api/v1/users/{id}": f"/users/{freelancer.id}",
        "/api/v1/users/me": "/users/me",
        "/api/v1/skills": "/skills?limit=1",
        "/api/v1/skills/{id}": f"/skills/{skill}",
        "/api/v1/projects": f"/projects?skill={skill}",
        "/api/v1/projects/{id}": f"/projects/{project['id']}",
        "/api/v1/projects/{id}/proposals": f"/projects/{project['id']}/proposals",
        "/api/v1/users/me/proposals": "/users/me/proposals?limit=2",
        "/api/v1/proposals/{id}": f"/proposals/{proposal['id']}",
        "/api/v1/stats/skills": f"/stats/skills?skill={skill}",
    }


async def resources(person: Person, path: str, fields: str | None) -> list[dict[str, Any]]:
    """What a path shows of each resource, cut down to these fields."""
    parameters = {} if fields is None else {"fields": fields}
    answer = await person.get(
        str(httpx.URL(path).copy_merge_params(parameters)), headers={"Cache-Control": "no-cache"}
    )
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json().get("items", [answer.json()])
    assert items
    return items


@pytest.mark.parametrize("endpoint", READING, ids=id_of)
def test_every_handler_that_reads_a_resource_reads_no_more_than_is_asked(
    endpoint: Endpoint,
) -> None:
    assert Signature(endpoint).takes_fields


@pytest.mark.parametrize("endpoint", READING, ids=id_of)
async def test_each_field_alone_is_as_in_the_whole(
    endpoint: Endpoint, freelancer: Person, paths: dict[str, str]
) -> None:
    path = paths[endpoint.route]
    whole = await resources(freelancer, path, None)
    assert [tuple(item) for item in whole] == [known_to(endpoint)] * len(whole)
    for name in known_to(endpoint):
        expected = [{name: item[name]} for item in whole]
        assert await resources(freelancer, path, name) == expected


@pytest.mark.parametrize("endpoint", READING, ids=id_of)
async def test_order_and_repetition_dont_matter(
    endpoint: Endpoint, freelancer: Person, paths: dict[str, str]
) -> None:
    path, known = paths[endpoint.route], known_to(endpoint)
    for given in (f"{known[2]},{known[0]}", f"{known[0]},{known[2]},{known[0]}"):
        for item in await resources(freelancer, path, given):
            assert tuple(item) == (known[0], known[2])
    assert await resources(freelancer, path, ",".join(reversed(known))) == await resources(
        freelancer, path, None
    )


@pytest.mark.parametrize("endpoint", WITH_RESOURCES, ids=id_of)
async def test_what_isnt_a_field_is_named_beside_those_that_are(
    endpoint: Endpoint, client: httpx.AsyncClient, admin: Person, owner: Person, freelancer: Person
) -> None:
    persons = {"client": owner, "freelancer": freelancer, "admin": admin}
    caller = persons[min(endpoint.access.roles or {"freelancer"})]
    path = endpoint.route.replace("{id}", "4611686018427387904")
    for fields, named in (
        ("fields=id,nmae,password_hash", ["«nmae»", "«password_hash»"]),
        ("fields=ID", ["«ID»"]),
        ("fields=id,", ["«»"]),
        ("fields=id;name", ["«id;name»"]),
        ("fields=", []),
        ("fields=,", []),
        ("fields=id&fields=name", ["once"]),
    ):
        answer = await client.request(
            endpoint.method, f"{path}?{fields}", headers=caller.headers, json={}
        )
        assert pointers(answer) == ["?fields"], fields
        (fault,) = answer.json()["errors"]
        assert all(name in fault["detail"] for name in named)
        if "once" not in named:
            assert fault["detail"].endswith(f"Known: {', '.join(known_to(endpoint))}")


async def test_what_is_written_is_cut_down_too(
    client: httpx.AsyncClient, admin: Person, owner: Person
) -> None:
    registered = await client.post(
        "/api/v1/auth/register?fields=role,email", json=new_account("freelancer", email="Z@E.com")
    )
    assert registered.json() == {"role": "freelancer", "email": "Z@E.com"}
    posted = await owner.post("/projects?fields=status", new_project())
    assert posted.json() == {"status": "open"}
    location = posted.headers["location"].removeprefix("/api/v1")
    changed = await owner.patch(f"{location}?fields=version,budget", {"budget": 7})
    assert changed.json() == {"budget": "7.00", "version": 2}
    bidder = await sign_up(client, "freelancer")
    bid = await bidder.post(f"{location}/proposals?fields=id,bid", new_proposal(bid=5))
    assert tuple(bid.json()) == ("id", "bid")
    accepted = await owner.post(f"/proposals/{bid.json()['id']}/accept?fields=status")
    assert accepted.json() == {"status": "accepted"}
    assert (await admin.post("/skills?fields=name", {"name": "Etching"})).json() == {
        "name": "Etching"
    }
    assert (await bidder.patch("/users/me?fields=bio", {"bio": "x"})).json() == {"bio": "x"}
    emptied = await bidder.request("PUT", "/users/me/skills?fields=skills", json=[])
    assert emptied.json() == {"skills": []}


async def test_admins_are_told_addresses_and_others_null(
    client: httpx.AsyncClient, admin: Person, freelancer: Person, statements: Statements
) -> None:
    """The guide's example; what isn't shown isn't read either."""
    path = "/api/v1/users?fields=id,name,email"
    shown = (await client.get(path, headers=admin.headers)).json()["items"]
    assert {item["email"] for item in shown if item["id"] == freelancer.id} == {freelancer.email}
    assert all(tuple(item) == ("id", "name", "email") and item["email"] for item in shown)
    for caller in ({}, freelancer.headers):
        headers = {**caller, "Cache-Control": "no-cache"}
        with statements.recorded():
            hidden = (await client.get(path, headers=headers)).json()["items"]
            one = await client.get(
                f"/api/v1/users/{freelancer.id}?fields=email,is_active", headers=headers
            )
        assert [item | {"email": None} for item in shown] == hidden
        assert one.json() == {"email": None, "is_active": None}
        read = [text for text in statements if "FROM users" in text]
        assert len(read) == 2
        assert not any("users.email" in text for text in read)


@pytest.mark.parametrize(
    ("path", "fields", "read", "unread"),
    [
        (
            "/api/v1/projects",
            "id,title",
            {"projects.id", "projects.title", "projects.version", "projects.created_at"},
            {"project_skills", "description", "currency", "updated_at", "budget", "client_id"},
        ),
        ("/api/v1/projects", "skill_ids", {"project_skills"}, {"projects.title"}),
        (
            "/api/v1/projects/{id}",
            "title",
            {"projects.title", "projects.client_id", "projects.status", "projects.version"},
            {"project_skills", "description", "currency", "created_at", "updated_at", "budget"},
        ),
        (
            "/api/v1/users/{id}",
            "name",
            {"users.id", "users.name", "users.version"},
            {"user_skills", "users.bio", "users.headline", "users.created_at", "users.email"},
        ),
        ("/api/v1/users/me", "country", {"users.country", "users.is_active"}, {"user_skills"}),
        ("/api/v1/users", "skills", {"user_skills"}, {"users.bio", "users.name"}),
        ("/api/v1/skills/{id}", "name", {"skills.name", "skills.version"}, {"created_at"}),
        (
            "/api/v1/proposals/{id}",
            "bid",
            {"proposals.bid", "proposals.project_id", "proposals.freelancer_id"},
            {"cover_letter", "estimated_days", "proposals.status"},
        ),
        (
            "/api/v1/users/me/proposals",
            "bid",
            {"proposals.bid", "proposals.id", "proposals.version", "proposals.created_at"},
            {"cover_letter", "estimated_days", "proposals.status"},
        ),
    ],
)
async def test_only_what_is_asked_for_and_what_the_rules_need_is_read(
    freelancer: Person,
    paths: dict[str, str],
    statements: Statements,
    path: str,
    fields: str,
    read: set[str],
    unread: set[str],
) -> None:
    target = paths[path].partition("?")[0]
    with statements.recorded():
        await resources(freelancer, target, fields)
    asked = " ".join(text for text in statements if "sessions" not in text)
    assert [name for name in sorted(read) if name not in asked] == []
    assert [name for name in sorted(unread) if name in asked] == []


async def test_a_draft_is_hidden_whatever_is_asked_of_it(
    client: httpx.AsyncClient, owner: Person, freelancer: Person
) -> None:
    draft = await post_project(owner, status="draft")
    path = f"/projects/{draft['id']}?fields=title"
    assert (await client.get(f"/api/v1{path}")).status_code == 404
    assert (await freelancer.get(path)).status_code == 404
    assert (await owner.get(path)).json() == {"title": draft["title"]}


async def test_asks_for_the_same_fields_travel_together(
    client: httpx.AsyncClient, owner: Person, statements: Statements
) -> None:
    ids = [(await post_project(owner))["id"] for _ in range(4)]
    wanted = ["title", "budget,id", "id,budget", None]
    with statements.recorded():
        answers = await asyncio.gather(
            *(
                client.get(f"/api/v1/projects/{id}", params={"fields": fields} if fields else {})
                for id in ids
                for fields in wanted
            )
        )
    assert [tuple(answer.json()) for answer in answers[:3]] == [("title",)] + [("id", "budget")] * 2
    assert len({answer.content for answer in answers[3::4]}) == 4
    assert len(statements) <= 2 * 3  # three shapes, in one or two batches


async def test_a_list_in_parts_goes_on_where_the_whole_one_would(
    client: httpx.AsyncClient, owner: Person
) -> None:
    ids = [(await post_project(owner))["id"] for _ in range(3)]
    path = f"/api/v1/projects?client_id={owner.id}&sort=-created_at&limit=2"
    first = await client.get(f"{path}&fields=title")
    assert "fields=title" in first.headers["link"]
    cursor = first.json()["next_cursor"]
    rest = await client.get(f"{path.replace('limit=2', 'limit=1')}&fields=id&cursor={cursor}")
    assert rest.json()["items"] == [{"id": ids[0]}]


async def test_a_choice_of_fields_has_a_tag_of_its_own(
    client: httpx.AsyncClient, project: dict[str, Any]
) -> None:
    path = f"/api/v1/projects/{project['id']}"
    answer = await client.get(path)
    whole = answer.headers["etag"]
    tags = {
        fields: (await client.get(path, params={"fields": fields})).headers["etag"]
        for fields in ("title", "id,title", "title,id,title", ",".join(project))
    }
    assert whole == tags[",".join(project)] == f'"{project["id"]}-{answer.json()["version"]}"'
    assert tags["id,title"] == tags["title,id,title"]
    assert len(set(tags.values())) == 3
    assert all(tag.startswith(whole[:-1]) for tag in tags.values())
    for tag, status in ((tags["title"], 304), (whole, 200), (tags["id,title"], 200)):
        answer = await client.get(f"{path}?fields=title", headers={"If-None-Match": tag})
        assert answer.status_code == status
