"""Proposals: bidding, who sees the bids, and that exactly one is hired."""

import asyncio

import asyncpg
import httpx
import pytest

from tests.conftest import Statements
from tests.factories import (
    Person,
    new_proposal,
    post_project,
    sign_up,
    sign_up_admin,
    submit_proposal,
)


@pytest.fixture(scope="module")
async def owner(client: httpx.AsyncClient) -> Person:
    return await sign_up(client)


@pytest.fixture(scope="module")
async def freelancers(client: httpx.AsyncClient) -> list[Person]:
    return [await sign_up(client, "freelancer") for _ in range(5)]


@pytest.fixture(scope="module")
async def admin(client: httpx.AsyncClient, database_uri: str) -> Person:
    return await sign_up_admin(client, database_uri)


async def test_a_bid_is_answered_whole_in_the_projects_currency(
    owner: Person, freelancers: list[Person]
) -> None:
    project = await post_project(owner, currency="EUR")
    answer = await freelancers[0].post(f"/projects/{project['id']}/proposals", new_proposal())
    proposal = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/proposals/{proposal['id']}"
    assert (proposal["bid"], proposal["currency"]) == ("1200.00", "EUR")
    assert (proposal["status"], proposal["version"]) == ("pending", 1)
    assert proposal["freelancer_id"] == freelancers[0].id


async def test_a_freelancer_bids_once_for_a_project_however_fast(
    owner: Person, freelancers: list[Person]
) -> None:
    project = await post_project(owner)
    path = f"/projects/{project['id']}/proposals"
    answers = await asyncio.gather(*(freelancers[0].post(path, new_proposal()) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201, *([409] * 9)]
    assert (await freelancers[0].post(path, new_proposal())).status_code == 409


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cover_letter", ""),
        ("cover_letter", "x" * 10_001),
        ("bid", 0),
        ("bid", "12.345"),
        ("estimated_days", 0),
        ("estimated_days", 3651),
        ("estimated_days", 1.5),
        ("status", "accepted"),
        ("currency", "EUR"),
        ("freelancer_id", 1),
    ],
)
async def test_each_field_of_a_bid_is_judged(
    owner: Person, freelancers: list[Person], field: str, value: object
) -> None:
    project = await post_project(owner)
    answer = await freelancers[0].post(
        f"/projects/{project['id']}/proposals", new_proposal() | {field: value}
    )
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [f"/{field}"]


async def test_bids_are_taken_only_while_the_project_is_open(
    client: httpx.AsyncClient, owner: Person, freelancers: list[Person]
) -> None:
    project = await post_project(owner, status="draft")
    path = f"/projects/{project['id']}/proposals"
    assert (await freelancers[0].post(path, new_proposal())).status_code == 404
    assert (await freelancers[0].post("/projects/999999/proposals", new_proposal())).is_error
    await owner.patch(f"/projects/{project['id']}", {"status": "cancelled"})
    refused = await freelancers[0].post(path, new_proposal())
    assert refused.status_code == 409
    assert "cancelled" in refused.json()["detail"]


async def test_only_freelancers_bid(client: httpx.AsyncClient, owner: Person) -> None:
    project = await post_project(owner)
    path = f"/projects/{project['id']}/proposals"
    assert (await owner.post(path, new_proposal())).status_code == 403
    assert (await client.post(f"/api/v1{path}", json=new_proposal())).status_code == 401


async def test_the_owner_sees_all_bids_and_a_freelancer_the_own_one(
    client: httpx.AsyncClient, owner: Person, freelancers: list[Person], admin: Person
) -> None:
    project = await post_project(owner)
    path = f"/projects/{project['id']}/proposals"
    made = [await submit_proposal(each, project["id"]) for each in freelancers[:3]]
    every = {proposal["id"] for proposal in made}

    async def seen(person: Person) -> set[int]:
        return {item["id"] for item in (await person.get(path)).json()["items"]}

    assert await seen(owner) == every
    assert await seen(admin) == every
    assert await seen(freelancers[1]) == {made[1]["id"]}
    assert await seen(freelancers[4]) == set()
    stranger = await sign_up(client)
    assert (await stranger.get(path)).status_code == 403
    assert (await client.get(f"/api/v1{path}")).status_code == 401


async def test_a_bid_is_there_for_its_parties_only(
    client: httpx.AsyncClient, owner: Person, freelancers: list[Person], admin: Person
) -> None:
    project = await post_project(owner)
    proposal = await submit_proposal(freelancers[0], project["id"])
    path = f"/proposals/{proposal['id']}"
    stranger = await sign_up(client)
    for person, status in (
        (owner, 200),
        (freelancers[0], 200),
        (admin, 200),
        (freelancers[1], 404),
        (stranger, 404),
    ):
        assert (await person.get(path)).status_code == status
    for person in (freelancers[1], stranger):
        assert (await person.patch(path, {"bid": 1})).status_code == 404
        assert (await person.post(f"{path}/accept")).status_code == 404
        assert (await person.post(f"{path}/reject")).status_code == 404
    assert (await client.get(f"/api/v1{path}")).status_code == 401


async def test_own_bids_are_listed_with_their_filters(
    client: httpx.AsyncClient, owner: Person
) -> None:
    freelancer = await sign_up(client, "freelancer")
    bids = []
    for number in range(3):
        project = await post_project(owner)
        bids.append(await submit_proposal(freelancer, project["id"], bid=100 + number))
    await freelancer.patch(f"/proposals/{bids[1]['id']}", {"status": "withdrawn"})

    async def ids(query: str) -> list[int]:
        answer = await freelancer.get(f"/users/me/proposals?{query}")
        return [item["id"] for item in answer.json()["items"]]

    assert await ids("") == [bid["id"] for bid in reversed(bids)]
    assert await ids("sort=bid") == [bid["id"] for bid in bids]
    assert await ids("status=withdrawn") == [bids[1]["id"]]
    assert (await freelancer.get("/users/me/proposals?sort=status")).status_code == 422


async def test_a_pending_bid_can_be_changed_and_withdrawn_by_its_freelancer(
    owner: Person, freelancers: list[Person]
) -> None:
    project = await post_project(owner)
    proposal = await submit_proposal(freelancers[0], project["id"])
    path = f"/proposals/{proposal['id']}"
    changed = (await freelancers[0].patch(path, {"bid": "999.99"})).json()
    assert (changed["bid"], changed["version"]) == ("999.99", 2)
    assert (await owner.patch(path, {"bid": "1"})).status_code == 403
    withdrawn = await freelancers[0].patch(path, {"status": "withdrawn"})
    assert withdrawn.json()["status"] == "withdrawn"
    assert (await freelancers[0].patch(path, {"bid": "1"})).status_code == 409
    assert (await owner.post(f"{path}/accept")).status_code == 409
    assert (await freelancers[0].patch(path, {"status": "pending"})).status_code == 422


async def test_accepting_hires_one_and_rejects_the_others(
    owner: Person, freelancers: list[Person]
) -> None:
    project = await post_project(owner)
    made = [await submit_proposal(each, project["id"]) for each in freelancers]
    await freelancers[4].patch(f"/proposals/{made[4]['id']}", {"status": "withdrawn"})
    answer = await owner.post(f"/proposals/{made[2]['id']}/accept")
    assert (answer.status_code, answer.json()["status"]) == (200, "accepted")
    after = (await owner.get(f"/projects/{project['id']}/proposals?sort=created_at")).json()
    statuses = [item["status"] for item in after["items"]]
    assert statuses == ["rejected", "rejected", "accepted", "rejected", "withdrawn"]
    begun = (await owner.get(f"/projects/{project['id']}")).json()
    # Each bid has moved the version, and its withdrawal, and at last the acceptance.
    assert (begun["status"], begun["version"]) == ("in_progress", 1 + 5 + 1 + 1)


async def test_of_a_hundred_acceptances_at_once_exactly_one_wins(
    client: httpx.AsyncClient, owner: Person, freelancers: list[Person], database_uri: str
) -> None:
    project = await post_project(owner)
    made = [await submit_proposal(each, project["id"]) for each in freelancers]
    answers = await asyncio.gather(
        *(
            owner.post(f"/proposals/{made[number % len(made)]['id']}/accept")
            for number in range(100)
        )
    )
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, *([409] * 99)]
    connection = await asyncpg.connect(database_uri)
    counted = await connection.fetch(
        "SELECT status, count(*) FROM proposals WHERE project_id = $1 GROUP BY 1", project["id"]
    )
    await connection.close()
    assert dict(counted) == {"accepted": 1, "rejected": 4}


async def test_rejecting_turns_down_one_bid_and_leaves_the_project_open(
    owner: Person, freelancers: list[Person]
) -> None:
    project = await post_project(owner)
    made = [await submit_proposal(each, project["id"]) for each in freelancers[:2]]
    answer = await owner.post(f"/proposals/{made[0]['id']}/reject")
    assert (answer.status_code, answer.json()["status"]) == (200, "rejected")
    assert (await owner.post(f"/proposals/{made[0]['id']}/accept")).status_code == 409
    assert (await owner.get(f"/proposals/{made[1]['id']}")).json()["status"] == "pending"
    assert (await owner.get(f"/projects/{project['id']}")).json()["status"] == "open"


async def test_only_the_owner_decides(
    client: httpx.AsyncClient, owner: Person, freelancers: list[Person], admin: Person
) -> None:
    project = await post_project(owner)
    proposal = await submit_proposal(freelancers[0], project["id"])
    path = f"/proposals/{proposal['id']}"
    for verdict in ("accept", "reject"):
        assert (await freelancers[0].post(f"{path}/{verdict}")).status_code == 403
        assert (await admin.post(f"{path}/{verdict}")).status_code == 403
        assert (await client.post(f"/api/v1{path}/{verdict}")).status_code == 401
    assert (await owner.get(path)).json() == proposal


async def test_decisions_of_a_moment_share_their_transaction(
    owner: Person, freelancers: list[Person], statements: Statements
) -> None:
    projects = [await post_project(owner) for _ in range(10)]
    made = [await submit_proposal(freelancers[0], project["id"]) for project in projects]
    with statements.recorded():
        answers = await asyncio.gather(
            *(owner.post(f"/proposals/{proposal['id']}/accept") for proposal in made)
        )
    assert {answer.status_code for answer in answers} == {200}
    # Sessions, proposals, projects for the owner's sake; then lock, read, two updates, events.
    assert len(statements) <= 2 * 9
