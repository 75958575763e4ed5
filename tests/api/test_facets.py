"""Facets of lists: each count is what the list would be as long as, for whoever asks."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from mercenary import settings
from mercenary.app import Application
from mercenary.db.counts import VALUES
from mercenary.seeding.seed import seed
from tests.api.lists import walked
from tests.api.profiles import pointers
from tests.conftest import Statements
from tests.factories import Person, post_project, sign_up, sign_up_admin

PROJECTS = 1_500
WORDS = ("design", "react -developer", "plain", "zebra")
STATUSES = ("draft", "open", "in_progress", "completed", "cancelled")
patient = profile(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
MATCHES = ", ".join(
    f"search @@ websearch_to_tsquery('english', ${place})" for place, _ in enumerate(WORDS, 1)
)
ROWS_OF_PROJECTS = f"""
    SELECT id, client_id, status, currency, budget,
           ARRAY(SELECT skill_id FROM project_skills WHERE project_id = projects.id) AS skills,
           ARRAY[{MATCHES}] AS matches
    FROM projects
"""
ROWS_OF_USERS = f"""
    SELECT id, role, country, is_active,
           ARRAY(SELECT skill_id FROM user_skills WHERE user_id = users.id) AS skills,
           ARRAY[{MATCHES}] AS matches
    FROM users
"""


@dataclass(frozen=True, repr=False)
class Made:
    """A made-up marketplace: who asks, and all its rows."""

    callers: Mapping[str, Person | None]
    projects: list[asyncpg.Record]
    users: list[asyncpg.Record]


@pytest.fixture(scope="module")
async def made(application: Application, client: httpx.AsyncClient, database_uri: str) -> Made:
    """Seeded, with a client who has drafts and others, an admin, and people who have left."""
    await seed(database_uri, settings.get(), projects=PROJECTS, seed=3, with_demo=False)
    owner, admin = await sign_up(client), await sign_up_admin(client, database_uri)
    for number in range(12):
        status, currency = ("draft", "open", "draft")[number % 3], ("USD", "XAF")[number % 2]
        skills = [1 + number % 4, 7]
        await post_project(owner, status=status, currency=currency, skill_ids=skills)
    connection = await asyncpg.connect(database_uri)
    await connection.execute(
        "UPDATE users SET is_active = false, deactivated_at = now()"
        " WHERE id % 5 = 0 AND id NOT IN ($1, $2)",
        owner.id,
        admin.id,
    )
    projects = await connection.fetch(ROWS_OF_PROJECTS, *WORDS)
    users = await connection.fetch(ROWS_OF_USERS, *WORDS)
    await connection.close()
    return Made({"guest": None, "owner": owner, "admin": admin}, projects, users)


async def counted(
    client: httpx.AsyncClient, path: str, caller: Person | None, **parameters: Any
) -> dict[str, Any]:
    """A page with everything that can be included."""
    asked: dict[str, Any] = {"include": "total,facets", "limit": 1} | parameters
    headers = caller.headers if caller else {}
    answer = await client.get(f"/api/v1{path}", params=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def most(values: Iterable[Any]) -> list[dict[str, Any]]:
    """The counts of the most frequent values, and of equally frequent ones the first."""
    counts = Counter(value for value in values if value is not None)
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [{"value": value, "count": count} for value, count in ordered[:VALUES]]


def listed_projects(
    made: Made, name: str, filters: Mapping[str, Any]
) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
    """The projects that the caller's list holds, and those that it would hold by any status."""
    caller, status, client_id = made.callers[name], filters.get("status"), filters.get("client_id")
    own = caller.id if caller else 0
    sees_drafts = name == "admin" or client_id == own
    if status == "draft" and not sees_drafts:  # which are one's own alone, by whatever status
        sees_drafts, client_id = True, own if client_id is None else 0
    kept = [
        row
        for row in made.projects
        if (sees_drafts or row["status"] != "draft")
        and client_id in (None, row["client_id"])
        and set(filters.get("skill", ())) <= set(row["skills"])
        and row["budget"] >= Decimal(filters.get("min_budget", 0))
        and row["budget"] <= Decimal(filters.get("max_budget", 10**10))
        and ("q" not in filters or row["matches"][WORDS.index(filters["q"])])
    ]
    return [row for row in kept if status in (None, row["status"])], kept


callers = st.sampled_from(["guest", "owner", "admin"])
skill_ids = st.lists(st.integers(1, 12), max_size=2, unique=True)


@patient
@given(
    name=callers,
    filters=st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(STATUSES),
            "skill": skill_ids,
            "client_id": st.sampled_from(["own", 1, 2]),
            "min_budget": st.sampled_from([10, 500]),
            "max_budget": st.sampled_from([600, 5_000]),
            "q": st.sampled_from(WORDS),
        },
    ),
    sort=st.sampled_from(["created_at", "-budget"]),
)
async def test_projects_are_counted_as_by_looking_at_each(
    client: httpx.AsyncClient, made: Made, name: str, filters: dict[str, Any], sort: str
) -> None:
    caller, owner = made.callers[name], made.callers["owner"]
    if filters.get("client_id") == "own" and owner is not None:
        filters["client_id"] = owner.id
    page = await counted(client, "/projects", caller, sort=sort, **filters)
    rows, by_any_status = listed_projects(made, name, filters)
    assert page["total"] == len(rows)
    assert page["facets"] == {
        "status": most(row["status"] for row in by_any_status),
        "currency": most(row["currency"] for row in rows),
        "skill": most(skill for row in rows for skill in row["skills"]),
    }


@patient
@given(
    name=callers,
    filters=st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["client", "freelancer", "admin"]),
            "country": st.sampled_from(["US", "IN", "DE", "IS"]),
            "skill": skill_ids,
            "q": st.sampled_from(WORDS),
        },
    ),
)
async def test_users_are_counted_as_by_looking_at_each(
    client: httpx.AsyncClient, made: Made, name: str, filters: dict[str, Any]
) -> None:
    page = await counted(client, "/users", made.callers[name], **filters)
    seen = [
        row
        for row in made.users
        if (name == "admin" or row["is_active"])
        and set(filters.get("skill", ())) <= set(row["skills"])
        and ("q" not in filters or row["matches"][WORDS.index(filters["q"])])
    ]
    role, country = filters.get("role"), filters.get("country")
    in_country = [row for row in seen if country in (None, row["country"])]
    in_role = [row for row in seen if role in (None, row["role"])]
    rows = [row for row in in_country if role in (None, row["role"])]
    assert page["total"] == len(rows)
    assert page["facets"] == {
        "role": most(row["role"] for row in in_country),
        "country": most(row["country"] for row in in_role),
        "skill": most(skill for row in rows for skill in row["skills"]),
    }


async def test_a_count_is_the_total_of_the_list_with_that_value(
    client: httpx.AsyncClient, made: Made
) -> None:
    asked = {"status": "open", "skill": [7], "min_budget": 100}
    facets = (await counted(client, "/projects", None, **asked))["facets"]
    for each in facets["status"]:
        instead = asked | {"status": each["value"]}
        assert (await counted(client, "/projects", None, **instead))["total"] == each["count"]
    for each in facets["skill"][:5]:
        besides = asked | {"skill": [7, each["value"]]}
        assert (await counted(client, "/projects", None, **besides))["total"] == each["count"]


async def test_nobody_is_told_how_many_drafts_others_have(
    client: httpx.AsyncClient, made: Made
) -> None:
    owner, admin = made.callers["owner"], made.callers["admin"]
    stranger = await sign_up(client)
    assert owner is not None
    of_owner: dict[str, Any] = {"client_id": owner.id}
    for caller in (None, stranger):
        for filters in ({}, of_owner, of_owner | {"status": "open"}):
            facets = (await counted(client, "/projects", caller, **filters))["facets"]
            assert "draft" not in {each["value"] for each in facets["status"]}
        for filters in ({"status": "draft"}, of_owner | {"status": "draft"}):
            page = await counted(client, "/projects", caller, **filters)
            assert page["total"] == 0
            assert page["facets"] == {"status": [], "currency": [], "skill": []}
    for caller in (owner, admin):
        facets = (await counted(client, "/projects", caller, client_id=owner.id))["facets"]
        assert {"value": "draft", "count": 8} in facets["status"]


async def test_facets_come_when_they_are_asked_for_and_only_then(
    client: httpx.AsyncClient, made: Made
) -> None:
    for path in ("/api/v1/projects", "/api/v1/users"):
        for include, names in (
            ("", ["items", "next_cursor"]),
            ("?include=total", ["items", "next_cursor", "total"]),
            ("?include=facets", ["items", "next_cursor", "facets"]),
            ("?include=facets,total", ["items", "next_cursor", "total", "facets"]),
        ):
            assert list((await client.get(path + include)).json()) == names
    for query in ("include=facet", "include=facets,", "include=facets&include=total"):
        assert pointers(await client.get(f"/api/v1/projects?{query}")) == ["?include"]
    for path in ("/api/v1/skills", "/api/v1/skills?q=x"):
        assert pointers(await client.get(path, params={"include": "facets"})) == ["?include"]


async def test_facets_go_with_head_entity_tags_and_fields(
    client: httpx.AsyncClient, made: Made
) -> None:
    path = "/api/v1/projects?status=completed&limit=3&include=total,facets"
    whole = await client.get(path)
    part = await client.get(f"{path}&fields=id,title")
    assert [list(item) for item in part.json()["items"]] == [["id", "title"]] * 3
    for name in ("total", "facets"):
        assert part.json()[name] == whole.json()[name]
    assert part.headers["etag"] != whole.headers["etag"]
    for answer in (whole, part):
        url, tag = str(answer.url), answer.headers["etag"]
        assert (await client.get(url, headers={"If-None-Match": tag})).status_code == 304
        head = await client.head(url)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == tag


async def test_a_walk_with_facets_is_the_walk_without(
    client: httpx.AsyncClient, made: Made
) -> None:
    asked: dict[str, Any] = {"skill": 7, "sort": "budget", "limit": 40}
    plain = await walked(client, "/projects", **asked)
    assert await walked(client, "/projects", include="facets", **asked) == plain
    first = await client.get("/api/v1/projects", params=asked | {"include": "total,facets"})
    second = await client.get(first.links["next"]["url"])
    for name in ("total", "facets"):
        assert second.json()[name] == first.json()[name]


async def test_all_facets_are_one_statement_and_equal_asks_share_it(
    client: httpx.AsyncClient, made: Made, statements: Statements
) -> None:
    path = "/api/v1/projects?status=open&min_budget=123&include=facets"
    with statements.recorded():
        answers = await asyncio.gather(*(client.get(path) for _ in range(20)))
    assert len({answer.text for answer in answers}) == 1
    counts = [text for text in statements if "count(*)" in text]
    assert 1 <= len(counts) <= 2
    assert len([text for text in statements if "plan_cache_mode" not in text]) <= 4


async def test_of_the_pages_of_a_list_the_second_doesnt_count_again(
    client: httpx.AsyncClient, made: Made, statements: Statements
) -> None:
    path = "/api/v1/projects?status=completed&min_budget=77&include=total,facets&limit=5"
    first = await client.get(path)
    with statements.recorded():
        second = await client.get(first.links["next"]["url"])
    assert second.json()["total"] == first.json()["total"]
    assert second.json()["facets"] == first.json()["facets"]
    assert [text for text in statements if text.startswith(("SELECT count(*)", "(SELECT"))] == []


async def test_what_depends_on_who_asks_is_counted_each_time(
    client: httpx.AsyncClient, made: Made
) -> None:
    owner, admin = await sign_up(client), made.callers["admin"]
    for number in range(1, 4):
        await post_project(owner, status="draft")
        for caller in (owner, admin):
            page = await counted(client, "/projects", caller, client_id=owner.id)
            assert page["total"] == number
            assert page["facets"]["status"] == [{"value": "draft", "count": number}]
        assert (await counted(client, "/projects", None, client_id=owner.id))["total"] == 0


async def test_a_write_is_counted_a_moment_later_and_at_once_for_whoever_insists(
    client: httpx.AsyncClient, made: Made
) -> None:
    owner = await sign_up(client)
    path = f"/api/v1/projects?client_id={owner.id}&include=total,facets"
    assert (await client.get(path)).json()["total"] == 0
    await post_project(owner)
    insisting = (await client.get(path, headers={"Cache-Control": "no-cache"})).json()
    assert insisting["total"] == 1
    assert insisting["facets"]["status"] == [{"value": "open", "count": 1}]
    await post_project(owner)
    until = asyncio.get_running_loop().time() + 10
    while (await client.get(path)).json()["total"] != 2:
        assert asyncio.get_running_loop().time() < until
        await asyncio.sleep(0.02)
