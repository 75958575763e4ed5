"""Lists of users: filters, sorts, cursors and limits, as every list has them."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.lists import listed, walked
from tests.api.profiles import pointers, profile
from tests.conftest import Statements
from tests.factories import Person, sign_up_admin


@pytest.fixture(scope="module")
async def admin(client: httpx.AsyncClient, database_uri: str) -> Person:
    return await sign_up_admin(client, database_uri)


@pytest.fixture(scope="module")
async def skills(admin: Person) -> list[int]:
    """Three skills' ids."""
    answers = [await admin.post("/skills", {"name": name}) for name in ("Rust", "Sales", "SQL")]
    return [answer.json()["id"] for answer in answers]


async def names(client: httpx.AsyncClient, **parameters: Any) -> list[str]:
    """The names in a guest's list, in its order."""
    return [user["name"] for user in await listed(client, "/users", **parameters)]


async def test_lists_show_addresses_to_admins_only(
    client: httpx.AsyncClient, admin: Person
) -> None:
    person = await profile(client, "Listed", country="AD")
    for caller, email in ((client, None), (admin.client, person.email)):
        headers = admin.headers if caller is admin.client and email else {}
        answer = await caller.get("/api/v1/users?country=AD", headers=headers)
        assert [user["email"] for user in answer.json()["items"]] == [email]


async def test_each_filter_finds_its_own(client: httpx.AsyncClient, skills: list[int]) -> None:
    rust, sales, sql = skills
    both = await profile(client, "Duo", country="AL", headline="Embedded engineer")
    one = await profile(client, "One", country="AL", bio="I write compilers")
    await profile(client, "Client", country="AL", role="client", headline="Buys compilers")
    levels = {skill: {"skill_id": skill, "level": 3} for skill in skills}
    await both.request("PUT", "/users/me/skills", json=[levels[rust], levels[sql]])
    await one.request("PUT", "/users/me/skills", json=[levels[rust]])
    for filters, expected in (
        ({}, ["Client", "One", "Duo"]),
        ({"role": "client"}, ["Client"]),
        ({"role": "freelancer"}, ["One", "Duo"]),
        ({"skill": rust}, ["One", "Duo"]),
        ({"skill": [sql, rust, rust]}, ["Duo"]),
        ({"skill": sales}, []),
        ({"q": "compiler"}, ["Client", "One"]),
        ({"q": "compiler -buy"}, ["One"]),
        ({"q": "ENGINEERS"}, ["Duo"]),
        ({"q": "Duo"}, ["Duo"]),
        ({"q": "compilers", "role": "freelancer", "skill": rust}, ["One"]),
        ({"q": "'; -- \\ & | ! :* <->"}, []),
    ):
        assert await names(client, country="AL", **filters) == expected, filters


async def test_callers_of_one_moment_each_find_what_they_asked_for(
    client: httpx.AsyncClient, skills: list[int]
) -> None:
    people = [await profile(client, f"Master of {skill}", country="AM") for skill in skills]
    for person, skill in zip(people, skills, strict=True):
        await person.request("PUT", "/users/me/skills", json=[{"skill_id": skill, "level": 5}])
    found = await asyncio.gather(
        *(names(client, country="AM", skill=skill) for skill in skills for _ in range(5))
    )
    assert found == [[f"Master of {skill}"] for skill in skills for _ in range(5)]


async def test_each_sort_has_its_order_and_no_rate_comes_last(client: httpx.AsyncClient) -> None:
    await profile(client, "Bo", country="AR", hourly_rate="90.00")
    await profile(client, "Cy", country="AR")
    await profile(client, "Al", country="AR", hourly_rate="100.00")
    for sort, expected in (
        (None, ["Al", "Cy", "Bo"]),
        ("-created_at", ["Al", "Cy", "Bo"]),
        ("created_at", ["Bo", "Cy", "Al"]),
        ("name", ["Al", "Bo", "Cy"]),
        ("-hourly_rate", ["Al", "Bo", "Cy"]),
    ):
        parameters: dict[str, Any] = {"country": "AR"} | ({"sort": sort} if sort else {})
        assert await names(client, **parameters) == expected
        assert [
            u["name"] for u in await walked(client, "/users", limit=1, **parameters)
        ] == expected


@pytest.mark.parametrize(
    ("sort", "country"),
    [("created_at", "AT"), ("-created_at", "AU"), ("name", "AZ"), ("-hourly_rate", "BA")],
)
async def test_a_walk_shows_whoever_stays_exactly_once_while_others_come_and_go(
    client: httpx.AsyncClient, sort: str, country: str
) -> None:
    # Equal names and rates on purpose: the id has to break the ties.
    rates = ["10.00", None, "10.00", "30.00", None, "20.00", "10.00", "30.00"]
    people = [
        await profile(client, f"N{number % 3}", country=country, hourly_rate=rate)
        for number, rate in enumerate(rates)
    ]
    leaving, staying = people[::4], [person.id for person in people if person not in people[::4]]

    async def disturb(page: int) -> None:
        await profile(client, f"N{page % 3}", country=country, hourly_rate="10.00")
        if page < len(leaving):
            await leaving[page].request("DELETE", "/users/me")

    seen = await walked(client, "/users", each=disturb, limit=2, sort=sort, country=country)
    ids = [user["id"] for user in seen]
    assert len(ids) == len(set(ids))
    assert set(staying) <= set(ids)


async def test_the_next_page_is_linked_and_the_last_one_says_so(client: httpx.AsyncClient) -> None:
    for name in ("X", "Y"):
        await profile(client, name, country="BB")
    first = await client.get("/api/v1/users?country=BB&limit=1&sort=name")
    assert 'rel="next"' in first.headers["link"]
    second = await client.get(first.headers["link"].partition("<")[2].partition(">")[0])
    assert [user["name"] for user in second.json()["items"]] == ["Y"]
    assert second.json()["next_cursor"] is None
    assert "link" not in second.headers


async def test_a_cursor_works_for_the_list_that_made_it_only(client: httpx.AsyncClient) -> None:
    for name in ("X", "Y"):
        await profile(client, name, country="BD")
    path = "/api/v1/users?country=BD&limit=1"
    cursor = (await client.get(path)).json()["next_cursor"]
    flipped = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    for query in (
        f"{path}&sort=name&cursor={cursor}",
        f"/api/v1/users?country=BE&cursor={cursor}",
        f"/api/v1/skills?cursor={cursor}",
        f"{path}&cursor={flipped}",
        f"{path}&cursor=",
        f"{path}&cursor=%C3%A4%20%2F",
        f"{path}&cursor={'x' * 4000}",
    ):
        answer = await client.get(query)
        assert answer.status_code == 400, query
        assert answer.json()["type"] == "/problems/invalid-cursor"
    # Another size of page is the same list.
    assert len((await client.get(f"/api/v1/users?country=BD&cursor={cursor}")).json()["items"]) == 1


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("limit=0", ["?limit"]),
        ("limit=101", ["?limit"]),
        ("limit=abc", ["?limit"]),
        ("limit=", ["?limit"]),
        ("limit=1.5", ["?limit"]),
        ("limit=1&limit=2", ["?limit"]),
        ("limit=99999999999999999999", ["?limit"]),
        ("sort=email", ["?sort"]),
        ("role=boss", ["?role"]),
        ("country=XX", ["?country"]),
        ("skill=0", ["?skill"]),
        ("skill=x&skill=1", ["?skill"]),
        ("q=", ["?q"]),
        ("q=%00", ["?q"]),
        ("q=" + "x" * 201, ["?q"]),
        ("nonsense=1", ["?nonsense"]),
        ("limit=0&sort=email&nonsense=1", ["?limit", "?nonsense", "?sort"]),
    ],
)
async def test_wrong_parameters_are_all_named(
    client: httpx.AsyncClient, query: str, wrong: list[str]
) -> None:
    assert pointers(await client.get(f"/api/v1/users?{query}")) == wrong


async def test_an_unknown_parameter_or_sort_names_the_known_ones(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/api/v1/users?colour=red&sort=colour")
    detail = {fault["pointer"]: fault["detail"] for fault in answer.json()["errors"]}
    for known in ("limit", "cursor", "role", "skill", "country", "q", "sort"):
        assert known in detail["?colour"]
    for known in ("created_at", "-created_at", "name", "-hourly_rate"):
        assert known in detail["?sort"]


@pytest.mark.parametrize("limit", [1, 20, 21, 100])
async def test_every_limit_from_1_to_100_is_taken(client: httpx.AsyncClient, limit: int) -> None:
    answer = await client.get(f"/api/v1/users?limit={limit}")
    assert answer.status_code == 200
    assert len(answer.json()["items"]) <= limit


async def test_twenty_lists_asked_for_at_once_are_one_or_two_statements(
    client: httpx.AsyncClient, statements: Statements
) -> None:
    countries = ["AG", "AI"] * 10
    for country in countries[:2]:
        await profile(client, "Somebody", country=country)
    with statements.recorded():
        found = await asyncio.gather(*(listed(client, "/users", country=c) for c in countries))
    for users, country in zip(found, countries, strict=True):
        assert {user["country"] for user in users} == {country}
    assert len(statements) <= 2
