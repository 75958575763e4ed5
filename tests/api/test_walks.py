"""A walk by cursor shows every row that stays exactly once, whatever comes and goes meanwhile."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from mercenary.db import engine
from mercenary.db.pages import PageAsk, PageQuery, Slice
from mercenary.projects.queries import select_project_pages
from mercenary.projects.schemas import Project
from mercenary.proposals.queries import select_proposal_pages
from mercenary.skills.queries import select_skill_pages
from tests.api.lists import walked
from tests.factories import Person, post_project, sign_up, sign_up_admin, submit_proposal


async def seen_by(
    person: Person, path: str, disturb: Callable[[int], Awaitable[None]] | None, **parameters: Any
) -> list[int]:
    """The ids on all pages of two; `disturb` is called between two pages."""
    items = await walked(
        person.client, path, each=disturb, headers=person.headers, limit=2, **parameters
    )
    return [item["id"] for item in items]


def assert_each_once(seen: list[int], before: list[int], gone: list[int]) -> None:
    """Nothing was shown twice, and whatever was there all the time was shown."""
    assert len(seen) == len(set(seen))
    assert set(before) - set(gone) <= set(seen)


@pytest.fixture(scope="module")
async def freelancers(client: httpx.AsyncClient) -> list[Person]:
    return [await sign_up(client, "freelancer") for _ in range(16)]


# Budgets and bids with ties, so that the id has to break them.
AMOUNTS = [30, 10, 20, 10, 30, 20, 10, 20, 10, 30]


@pytest.mark.parametrize(
    ("sort", "searched"),
    [
        (sort, searched)
        for sort in select_project_pages.sorts
        for searched in (False, True)
        if searched or sort != "-relevance"
    ],
)
async def test_projects(client: httpx.AsyncClient, sort: str, *, searched: bool) -> None:
    owner = await sign_up(client)

    async def post(number: int) -> int:
        # The more often it says the word, the higher it ranks.
        text = "sailing " * (number % 3 + 1)
        posted = await post_project(
            owner, status="draft", budget=AMOUNTS[number % 10], description=text, title="Ship"
        )
        return int(posted["id"])

    before = [await post(number) for number in range(10)]
    leaving = before[::3]

    async def disturb(number: int) -> None:
        await post(number)
        if number < len(leaving):
            await owner.request("DELETE", f"/projects/{leaving[number]}")

    filters = {"client_id": owner.id} | ({"q": "sailing"} if searched else {})
    seen = await seen_by(owner, "/projects", disturb, sort=sort, **filters)
    assert_each_once(seen, before, leaving)


@pytest.mark.parametrize("sort", select_proposal_pages.sorts)
async def test_bids_for_a_project(
    client: httpx.AsyncClient, freelancers: list[Person], sort: str
) -> None:
    owner = await sign_up(client)
    project = await post_project(owner)
    bidders = iter(freelancers)

    async def bid(number: int) -> tuple[int, Person]:
        person = next(bidders)
        made = await submit_proposal(person, project["id"], bid=AMOUNTS[number % 10])
        return int(made["id"]), person

    before = [await bid(number) for number in range(10)]
    leaving = before[::3]

    async def disturb(number: int) -> None:
        if number < 6:
            await bid(number)
        if number < len(leaving):
            id, person = leaving[number]
            await person.patch(f"/proposals/{id}", {"status": "withdrawn"})

    path = f"/projects/{project['id']}/proposals"
    seen = await seen_by(owner, path, disturb, sort=sort, status="pending")
    assert_each_once(seen, [id for id, _ in before], [id for id, _ in leaving])


@pytest.mark.parametrize("sort", select_proposal_pages.sorts)
async def test_own_bids(client: httpx.AsyncClient, sort: str) -> None:
    owner = await sign_up(client)
    freelancer = await sign_up(client, "freelancer")

    async def bid(number: int) -> int:
        project = await post_project(owner)
        made = await submit_proposal(freelancer, project["id"], bid=AMOUNTS[number % 10])
        return int(made["id"])

    before = [await bid(number) for number in range(10)]
    leaving = before[::3]

    async def disturb(number: int) -> None:
        await bid(number)
        if number < len(leaving):
            await freelancer.patch(f"/proposals/{leaving[number]}", {"status": "withdrawn"})

    seen = await seen_by(freelancer, "/users/me/proposals", disturb, sort=sort, status="pending")
    assert_each_once(seen, before, leaving)
    without = await seen_by(freelancer, "/users/me/proposals", None, sort=sort)
    assert_each_once(without, before, [])


@pytest.mark.parametrize("searched", [False, True])
async def test_skills(client: httpx.AsyncClient, database_uri: str, *, searched: bool) -> None:
    """Skills come and never go."""
    admin = await sign_up_admin(client, database_uri)
    kind = "Forging" if searched else "Casting"

    async def add(number: int) -> int:
        answer = await admin.post("/skills", {"name": f"{kind} {'of tin ' * (number % 3)}{number}"})
        return int(answer.json()["id"])

    before = [await add(number) for number in range(10)]

    async def disturb(number: int) -> None:
        if number < 5:
            await add(50 + number)

    seen = await seen_by(admin, "/skills", disturb, **({"q": kind} if searched else {}))
    assert_each_once(seen, before, [])
    assert set(select_skill_pages.sorts) == {"name", "-rank"}


async def test_new_matches_push_none_out_of_the_ranked_ones(client: httpx.AsyncClient) -> None:
    """Of six matches the newest four are ranked, and stay so while three more come."""
    owner = await sign_up(client)
    whole = select_project_pages
    narrow = PageQuery(
        whole.name,
        whole._projection,
        key=whole._statements.key,
        filters=whole.filters,
        sorts={"-relevance": replace(whole.sorts["-relevance"], window=4)},
    )

    async def page(ask: PageAsk) -> Slice[Project]:
        async with engine.current().searching() as connection:
            return (await narrow.searches(connection, [ask]))[ask]

    async def post(times: int) -> int:
        posted = await post_project(owner, title="Boat", description="kayak " * times)
        return int(posted["id"])

    matches = [await post(times) for times in (9, 8, 2, 4, 1, 3)]
    ask = PageAsk((("q", "kayak"),), "-relevance", None, 2)
    first = await page(ask)
    assert [item.id for item in first.items] == [matches[3], matches[5]]
    assert first.end is not None
    assert first.end.floor == matches[2]
    for _ in range(3):
        await post(7)
    second = await page(replace(ask, after=first.end))
    assert [item.id for item in second.items] == [matches[2], matches[4]]
    assert second.end is None
