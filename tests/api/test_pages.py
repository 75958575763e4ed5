"""Pages by number, totals and links, as every list has them."""

import asyncio
from typing import Any

import httpx
import pytest

from mercenary.app import ENDPOINTS
from mercenary.http.endpoint import Endpoint
from mercenary.http.invocation import Signature
from mercenary.http.lists import FacetedQuery, ListQuery
from tests.api.lists import walked
from tests.api.profiles import pointers
from tests.conftest import Statements
from tests.factories import Person, post_project, sign_up

LISTS = [endpoint for endpoint in ENDPOINTS if issubclass(Signature(endpoint).query, ListQuery)]
every_list = pytest.mark.parametrize("endpoint", LISTS, ids=[each.name for each in LISTS])
POSTED = 7


@pytest.fixture(scope="module")
async def owner(client: httpx.AsyncClient) -> Person:
    """A client with seven projects."""
    person = await sign_up(client)
    for number in range(POSTED):
        await post_project(person, title=f"Project {number}", budget=100 - number // 2)
    return person


@pytest.fixture(scope="module")
async def freelancer(client: httpx.AsyncClient) -> Person:
    return await sign_up(client, "freelancer")


async def path_of(endpoint: Endpoint, owner: Person) -> str:
    """A list's path; that of bids is one of the owner's projects'."""
    (project, *_) = (await owner.get(f"/projects?client_id={owner.id}")).json()["items"]
    return endpoint.route.removeprefix("/api/v1").replace("{id}", str(project["id"]))


@every_list
async def test_numbers_go_as_far_as_row_10_000(
    endpoint: Endpoint, owner: Person, freelancer: Person
) -> None:
    path = await path_of(endpoint, owner)
    for page, limit in ((1, 20), (500, 20), (100, 100), (10_000, 1)):
        answer = await freelancer.get(f"{path}?page={page}&limit={limit}")
        assert answer.status_code == 200, answer.text
    for page, limit in ((501, 20), (101, 100), (10_001, 1), (10**30, 1)):
        answer = await freelancer.get(f"{path}?page={page}&limit={limit}")
        assert answer.status_code == 400
        assert answer.json()["type"] == "/problems/page-too-deep"
        assert "`cursor`" in answer.json()["detail"]


@every_list
@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("page=0", ["?page"]),
        ("page=-1", ["?page"]),
        ("page=x", ["?page"]),
        ("page=1.5", ["?page"]),
        ("page=1&page=2", ["?page"]),
        ("page=1&cursor=x", ["?page"]),
        ("include=", ["?include"]),
        ("include=total,count", ["?include"]),
        ("include=total&include=total", ["?include"]),
    ],
)
async def test_wrong_pages_and_inclusions_are_named(
    endpoint: Endpoint, owner: Person, freelancer: Person, query: str, wrong: list[str]
) -> None:
    answer = await freelancer.get(f"{await path_of(endpoint, owner)}?{query}")
    assert pointers(answer) == wrong
    if query == "include=total,count":
        known = "total, facets" if issubclass(Signature(endpoint).query, FacetedQuery) else "total"
        assert answer.json()["errors"][0]["detail"] == f"Unknown: «count». Known: {known}"


@every_list
async def test_the_total_comes_when_it_is_asked_for_and_only_then(
    endpoint: Endpoint, owner: Person, freelancer: Person
) -> None:
    path = await path_of(endpoint, owner)
    without = (await freelancer.get(path)).json()
    assert {"items", "next_cursor"} <= set(without)
    counted = (await freelancer.get(f"{path}?include=total&limit=100")).json()
    assert set(counted) - set(without) == {"total"}
    assert counted["next_cursor"] is None
    assert counted["total"] == len(counted["items"])


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "budget", "-budget"])
@pytest.mark.parametrize("limit", [1, 3, 25])
async def test_numbered_pages_are_those_of_the_walk(
    client: httpx.AsyncClient, owner: Person, sort: str, limit: int
) -> None:
    asked: dict[str, Any] = {"client_id": owner.id, "sort": sort, "limit": limit}
    whole = await walked(client, "/projects", **asked)
    assert len(whole) == POSTED
    for page in range(1, POSTED // limit + 3):
        answer = await client.get("/api/v1/projects", params=asked | {"page": page})
        assert answer.json()["items"] == whole[(page - 1) * limit : page * limit]
        assert (answer.json()["next_cursor"] is not None) == (page * limit < POSTED)


async def test_a_numbered_page_of_a_search_is_that_of_the_walk(
    client: httpx.AsyncClient, owner: Person
) -> None:
    for sort in ("-relevance", "budget", "-created_at"):
        asked: dict[str, Any] = {"client_id": owner.id, "q": "project", "sort": sort, "limit": 2}
        whole = await walked(client, "/projects", **asked)
        assert len(whole) == POSTED
        for page in (1, 2, 4):
            answer = await client.get("/api/v1/projects", params=asked | {"page": page})
            assert answer.json()["items"] == whole[(page - 1) * 2 : page * 2]


async def test_a_numbered_page_links_on_by_cursor_and_keeps_the_other_parameters(
    client: httpx.AsyncClient, owner: Person
) -> None:
    path = f"/api/v1/projects?page=2&limit=3&client_id={owner.id}&include=total&fields=id,title"
    second = await client.get(path)
    target = httpx.URL(second.links["next"]["url"])
    cursor = second.json()["next_cursor"]
    assert dict(target.params) == {
        "limit": "3",
        "client_id": str(owner.id),
        "include": "total",
        "fields": "id,title",
        "cursor": cursor,
    }
    third = await client.get(str(target))
    assert (len(third.json()["items"]), third.json()["total"]) == (1, POSTED)
    assert "next" not in third.links


async def test_totals_count_what_the_caller_may_see_and_what_the_filters_pass(
    client: httpx.AsyncClient,
) -> None:
    person = await sign_up(client)
    for status, budget in (("draft", 1), ("open", 2), ("open", 3)):
        await post_project(person, status=status, budget=budget, title=f"Budget {budget}")

    async def total(caller: Person | None, **filters: Any) -> int:
        parameters: dict[str, Any] = {"client_id": person.id, "include": "total", "limit": 1}
        headers = {} if caller is None else caller.headers
        answer = await client.get("/api/v1/projects", params=parameters | filters, headers=headers)
        return int(answer.json()["total"])

    assert await total(None) == 2
    assert await total(person) == 3
    assert await total(person, status="draft") == 1
    assert await total(None, status="draft") == 0
    assert await total(None, min_budget=3) == 1
    assert await total(None, q="budget -3") == 1
    assert await total(None, q="budget", sort="-relevance") == 2


async def test_totals_of_one_moment_travel_together_and_equal_ones_are_one(
    client: httpx.AsyncClient, owner: Person, statements: Statements
) -> None:
    path = f"/api/v1/projects?client_id={owner.id}&include=total"
    with statements.recorded():
        answers = await asyncio.gather(*(client.get(path) for _ in range(20)))
    assert {answer.json()["total"] for answer in answers} == {POSTED}
    assert sum("count(*)" in text for text in statements) <= 2
