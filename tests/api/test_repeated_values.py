"""What a project repeats of other rows is what they say, whoever changes them and however many."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from mercenary import housekeeping
from mercenary.db import engine
from mercenary.db.cleaning import clean
from mercenary.db.invariants import INVARIANTS, check
from mercenary.projects import service as projects_service
from tests.conftest import Statements
from tests.db.conftest import connected
from tests.factories import (
    Person,
    new_project,
    new_proposal,
    post_project,
    sign_up,
    submit_proposal,
)

BIDDERS = 100
Shown = tuple[int, str | None]


@pytest.fixture(scope="module")
async def owner(client: httpx.AsyncClient) -> Person:
    return await sign_up(client)


@pytest.fixture(scope="module")
async def freelancers(client: httpx.AsyncClient) -> list[Person]:
    return [await sign_up(client, "freelancer") for _ in range(BIDDERS)]


@pytest.fixture(autouse=True)
async def recounted() -> Any:
    """After each test, whatever it was about, no row of any says something else than it must."""
    yield
    async with engine.current().connecting() as connection:
        for invariant in INVARIANTS:
            assert (await check(connection, invariant)).sample == []


async def project_of(client: httpx.AsyncClient, project: dict[str, Any]) -> dict[str, Any]:
    """As everybody sees it now."""
    answer = await client.get(f"/api/v1/projects/{project['id']}")
    shown: dict[str, Any] = answer.json()
    assert answer.headers["etag"] == f'"{shown["id"]}-{shown["version"]}"'
    return shown


async def tally_of(client: httpx.AsyncClient, project: dict[str, Any]) -> Shown:
    shown = await project_of(client, project)
    return shown["proposal_count"], shown["lowest_bid"]


async def withdraw(person: Person, proposal: dict[str, Any]) -> None:
    answer = await person.patch(f"/proposals/{proposal['id']}", {"status": "withdrawn"})
    assert answer.status_code == 200, answer.text


async def test_a_new_project_has_its_clients_name_and_no_bids(
    client: httpx.AsyncClient, owner: Person
) -> None:
    posted = await post_project(owner)
    assert posted["client_name"] == owner.user["name"]
    assert (posted["proposal_count"], posted["lowest_bid"]) == (0, None)
    assert await project_of(client, posted) == posted


async def test_every_way_a_proposal_changes_is_seen_at_once(
    client: httpx.AsyncClient, owner: Person, freelancers: list[Person]
) -> None:
    """By everybody, who had it in a cache a moment ago; rejected and hired ones still count."""
    project = await post_project(owner)
    ada, bea, cem = freelancers[:3]
    made: dict[str, dict[str, Any]] = {}

    async def bid(name: str, person: Person, amount: str) -> None:
        made[name] = await submit_proposal(person, project["id"], bid=amount)

    async def raise_to(person: Person, name: str, amount: str) -> None:
        answer = await person.patch(f"/proposals/{made[name]['id']}", {"bid": amount})
        assert answer.status_code == 200

    async def decide(name: str, verdict: str) -> None:
        assert (await owner.post(f"/proposals/{made[name]['id']}/{verdict}")).status_code == 200

    steps: list[tuple[Callable[[], Awaitable[None]], Shown]] = [
        (lambda: bid("a", ada, "300.00"), (1, "300.00")),
        (lambda: bid("b", bea, "200.00"), (2, "200.00")),
        (lambda: bid("c", cem, "250.50"), (3, "200.00")),
        (lambda: raise_to(ada, "a", "150.00"), (3, "150.00")),
        (lambda: raise_to(ada, "a", "900.00"), (3, "200.00")),
        (lambda: withdraw(bea, made["b"]), (2, "250.50")),
        (lambda: decide("c", "reject"), (2, "250.50")),
        (lambda: decide("a", "accept"), (2, "250.50")),
    ]
    version = project["version"]
    shown: Shown = (0, None)
    for step, expected in steps:
        assert await tally_of(client, project) == shown
        assert (await client.get(f"/api/v1/projects/{project['id']}")).headers["x-cache"] != "miss"
        await step()
        after = await project_of(client, project)
        assert (after["proposal_count"], after["lowest_bid"]) == expected
        listed = await client.get(f"/api/v1/projects/{project['id']}?fields=proposal_count")
        assert listed.json()["proposal_count"] == expected[0]
        moved = expected != shown or after["status"] == "in_progress"
        assert after["version"] == version + moved
        version, shown = after["version"], expected


async def test_the_last_withdrawal_leaves_nothing(
    client: httpx.AsyncClient, owner: Person, freelancers: list[Person]
) -> None:
    project = await post_project(owner)
    made = await submit_proposal(freelancers[0], project["id"], bid="10")
    assert await tally_of(client, project) == (1, "10.00")
    await withdraw(freelancers[0], made)
    assert await tally_of(client, project) == (0, None)


async def test_of_two_lowest_bids_one_stays(
    client: httpx.AsyncClient, owner: Person, freelancers: list[Person]
) -> None:
    project = await post_project(owner)
    made = [await submit_proposal(each, project["id"], bid="70") for each in freelancers[:2]]
    await withdraw(freelancers[0], made[0])
    assert await tally_of(client, project) == (1, "70.00")


async def test_a_hundred_bid_at_once_while_some_withdraw(
    client: httpx.AsyncClient, owner: Person, freelancers: list[Person]
) -> None:
    """And others ask for less or more; count and lowest are exact in the end."""
    project = await post_project(owner)
    chance = random.Random(39)
    standing: dict[int, float] = {}

    async def play(number: int, person: Person) -> None:
        bid = chance.randint(100, 900)
        made = await submit_proposal(person, project["id"], bid=f"{bid}")
        if number % 3 == 0:
            await withdraw(person, made)
            return
        if number % 3 == 1:
            bid = chance.randint(100, 900)
            path = f"/proposals/{made['id']}"
            assert (await person.patch(path, {"bid": f"{bid}"})).status_code == 200
        standing[number] = bid

    await asyncio.gather(*(play(number, person) for number, person in enumerate(freelancers)))
    expected = (len(standing), f"{min(standing.values())}.00")
    assert await tally_of(client, project) == expected


async def test_a_batch_about_many_projects_tells_each_its_own(
    client: httpx.AsyncClient, owner: Person, freelancers: list[Person], statements: Statements
) -> None:
    """In one statement, with bids that are refused among them."""
    projects = [await post_project(owner) for _ in range(20)]
    draft = await post_project(owner, status="draft")
    asks = [(person, each) for person in freelancers[:3] for each in (*projects, draft)]
    with statements.recorded():
        answers = await asyncio.gather(
            *(
                person.post(f"/projects/{each['id']}/proposals", new_proposal(bid=f"{9 + place}"))
                for place, (person, each) in enumerate(asks)
            )
        )
    assert sum(answer.status_code == 201 for answer in answers) == 60
    assert sum("proposal_count=" in each for each in statements) <= 6
    for place, each in enumerate(projects):
        assert await tally_of(client, each) == (3, f"{9 + place}.00")


async def test_a_second_bid_of_one_freelancer_counts_once(
    client: httpx.AsyncClient, owner: Person, freelancers: list[Person]
) -> None:
    project = await post_project(owner)
    path = f"/projects/{project['id']}/proposals"
    answers = await asyncio.gather(
        *(freelancers[0].post(path, new_proposal(bid=f"{9 - n}")) for n in range(5))
    )
    taken = next(answer.json() for answer in answers if answer.status_code == 201)
    assert await tally_of(client, project) == (1, taken["bid"])


async def test_a_new_name_is_on_all_projects_when_it_is_answered(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In as many statements as it takes; nobody else's are touched, and lists know, too."""
    monkeypatch.setattr(projects_service, "RENAMED_AT_ONCE", 3)
    ada, bob = await sign_up(client), await sign_up(client)
    posted = [await post_project(ada) for _ in range(7)]
    draft = await post_project(ada, status="draft")
    other = await post_project(bob)
    for each in (*posted, other):
        await project_of(client, each)  # so that a cache has it
    assert (await ada.patch("/users/me", {"name": "Ada Newname"})).status_code == 200
    for each in posted:
        after = await project_of(client, each)
        assert (after["client_name"], after["version"]) == ("Ada Newname", each["version"] + 1)
    own = (await ada.get(f"/projects?client_id={ada.id}")).json()["items"]
    assert {each["client_name"] for each in own} == {"Ada Newname"}
    assert draft["id"] in {each["id"] for each in own}
    assert await project_of(client, other) == other


async def test_a_rename_tells_of_each_project(client: httpx.AsyncClient, database_uri: str) -> None:
    """A draft's event has no tags; a change that leaves the name tells of none."""
    ada = await sign_up(client)
    posted = (await post_project(ada))["id"]
    draft = (await post_project(ada, status="draft"))["id"]
    taken = "DELETE FROM outbox RETURNING name, subject, version, tags"
    async with connected(database_uri) as database:
        await database.fetch(taken)
        await ada.patch("/users/me", {"name": "Ada", "headline": "New"})
        assert {tuple(row) for row in await database.fetch(taken)} == {
            ("user.updated", f"user:{ada.id}", 2, f"user:{ada.id} users"),
            ("project.updated", f"project:{posted}", 2, f"project:{posted} projects"),
            ("project.updated", f"project:{draft}", 2, ""),
        }
        await ada.patch("/users/me", {"name": "Ada", "headline": "Newer"})
        assert [row["name"] for row in await database.fetch(taken)] == ["user.updated"]


async def test_who_posts_and_changes_the_name_at_once_leaves_no_old_name(
    client: httpx.AsyncClient,
) -> None:
    """Whoever posts holds the name, so a rename either comes before or finds the project."""
    people = [await sign_up(client) for _ in range(8)]

    async def play(person: Person) -> None:
        await asyncio.gather(
            *(person.post("/projects", new_project()) for _ in range(5)),
            *(person.patch("/users/me", {"name": f"Name {turn}"}) for turn in range(5)),
        )

    await asyncio.gather(*map(play, people))
    for person in people:
        name = (await person.get("/users/me")).json()["name"]
        found = (await person.get(f"/projects?client_id={person.id}")).json()["items"]
        assert [each["client_name"] for each in found] == [name] * 5


async def test_a_rename_and_bids_for_the_same_projects_wait_in_no_circle(
    client: httpx.AsyncClient, freelancers: list[Person]
) -> None:
    """Though who is renamed bids, too, and the bids name users."""
    ada = await sign_up(client)
    posted = [await post_project(ada) for _ in range(4)]
    bidders = freelancers[:10]
    answers = await asyncio.gather(
        *(each.patch("/users/me", {"name": f"Free {n}"}) for n, each in enumerate(bidders)),
        *(ada.patch("/users/me", {"name": f"Ada {n}"}) for n in range(10)),
        *(
            each.post(f"/projects/{place['id']}/proposals", new_proposal())
            for each in bidders
            for place in posted
        ),
    )
    assert [each.text for each in answers if each.status_code >= 300] == []
    for each in posted:
        assert (await tally_of(client, each))[0] == len(bidders)


@pytest.mark.parametrize("rows", [2, 1_000])
async def test_an_erased_client_is_named_nowhere_and_an_erased_bid_counts_nowhere(
    client: httpx.AsyncClient, database_uri: str, rows: int
) -> None:
    """Also where it takes turns; each leaves what the invariants allow."""
    ada, leo = await sign_up(client), await sign_up(client, "freelancer")
    posted = [await post_project(ada) for _ in range(5)]
    hired = await submit_proposal(leo, posted[0]["id"])
    assert (await ada.post(f"/proposals/{hired['id']}/accept")).status_code == 200
    bob, mia = await sign_up(client), await sign_up(client, "freelancer")
    wanted = await post_project(bob)
    await submit_proposal(leo, wanted["id"], bid="5")
    await submit_proposal(mia, wanted["id"], bid="7")
    for person in (ada, leo):
        await person.request("DELETE", "/users/me")
    async with connected(database_uri) as database:
        await database.execute(
            "UPDATE users SET created_at = now() - interval '32 days',"
            " deactivated_at = now() - interval '31 days' WHERE NOT is_active"
        )
        await clean(
            engine.current(), housekeeping.CHORES, rows=rows, pause=0, stopping=asyncio.Event()
        )
        shown = await database.fetch(
            "SELECT client_name, status, proposal_count FROM projects WHERE client_id = $1", ada.id
        )
        assert sorted(tuple(row) for row in shown) == [
            *[("Erased user", "cancelled", 0)] * 4,
            ("Erased user", "in_progress", 1),
        ]
        left = await database.fetchrow(
            "SELECT proposal_count, lowest_bid, version FROM projects WHERE id = $1", wanted["id"]
        )
        assert tuple(left) == (1, 7, 4)


async def test_an_owners_change_from_before_a_bid_is_refused_and_can_be_made_again(
    client: httpx.AsyncClient, owner: Person, freelancers: list[Person]
) -> None:
    """If-Match means the project as it was read; a bid has made it another one."""
    project = await post_project(owner)
    path = f"/projects/{project['id']}"
    read = (await owner.get(path)).headers["etag"]
    await submit_proposal(freelancers[0], project["id"])
    change = {"headers": {"if-match": read}, "json": {"title": "A better title"}}
    assert (await owner.request("PATCH", path, **change)).status_code == 412
    stale = await client.get(f"/api/v1{path}", headers={"if-none-match": read})
    assert (stale.status_code, stale.json()["proposal_count"]) == (200, 1)
    change["headers"] = {"if-match": stale.headers["etag"]}
    changed = await owner.request("PATCH", path, **change)
    assert (changed.status_code, changed.json()["proposal_count"]) == (200, 1)
    assert (await owner.patch(path, {"title": "The best title"})).status_code == 200
