"""A worker that is full says no by class, at once and without effect, and recovers by itself."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest
from argon2 import PasswordHasher

from mercenary.app import ENDPOINTS, Application
from mercenary.auth.service import authenticator
from mercenary.db import engine
from mercenary.edge.overload import LONGEST_RETRY
from mercenary.http.endpoint import UNLIMITED, Criticality
from mercenary.http.router import Router
from tests.factories import Person, new_account, new_project, post_project, sign_up

PLACES = 20
ROOM = {"search": 10, "read": 15, "write": 20}


class Full:
    """A worker with a fixed number of places, and a way to fill them with writes that wait."""

    def __init__(self, application: Application, client: httpx.AsyncClient, owner: Person) -> None:
        self.application = application
        self.client = client
        self.owner = owner
        self.waiting: list[asyncio.Task[httpx.Response]] = []

    async def fill(self, project_id: int, count: int) -> None:
        """Have so many requests in flight, all of which wait for the project's lock."""
        while len(self.waiting) < count:
            change = self.owner.patch(f"/projects/{project_id}", {"budget": "17.00"})
            self.waiting.append(asyncio.create_task(change))
        await until(lambda: self.application.admission.in_flight == count)

    async def ask(self, kind: str) -> httpx.Response:
        """One request of a class."""
        if kind == "write":
            return await self.owner.post("/projects", new_project(title="Refused or not"))
        query = {"q": "billing"} if kind == "search" else {"min_budget": "1"}
        past = {"Cache-Control": "no-cache"}  # what is kept is given out however full it is
        return await self.client.get("/api/v1/projects", params=query, headers=past)


@pytest.fixture(scope="module")
def changed_settings() -> dict[str, Any]:
    """A fixed number of places, and locks that are waited for as long as a test wants."""
    places = {f"in_flight_{bound}": PLACES for bound in ("least", "start", "most")}
    return places | {"lock_timeout": 60.0, "statement_timeout": 60.0}


@pytest.fixture
async def full(application: Application, client: httpx.AsyncClient) -> Full:
    """Such a worker."""
    return Full(application, client, await sign_up(client))


@pytest.fixture
async def lock(database_uri: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of somebody else's that holds what it locks until it rolls back."""
    connection = await asyncpg.connect(database_uri)
    await connection.execute("BEGIN")
    yield connection
    await connection.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a count has no event
            await asyncio.sleep(0.01)


async def test_search_is_refused_first_then_reads_then_writes_and_all_come_back(
    full: Full, lock: asyncpg.Connection
) -> None:
    project = await post_project(full.owner)
    await lock.execute("SELECT 1 FROM projects WHERE id = $1 FOR UPDATE", project["id"])
    before = list(full.application.admission.measures.refused)
    for kind in ROOM:
        assert (await full.ask(kind)).is_success
    for in_flight, refused in ((9, []), (10, ["search"]), (15, ["search", "read"])):
        await full.fill(project["id"], in_flight)
        answers = {kind: await full.ask(kind) for kind in ROOM}
        assert [kind for kind, answer in answers.items() if answer.status_code == 503] == refused
        assert all(answers[kind].is_success for kind in ROOM if kind not in refused)
    await full.fill(project["id"], 20)
    assert [(await full.ask(kind)).status_code for kind in ROOM] == [503, 503, 503]
    after = full.application.admission.measures.refused
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 2, 3]

    await lock.execute("ROLLBACK")
    assert {change.status_code for change in await asyncio.gather(*full.waiting)} == {200}
    assert full.application.admission.in_flight == 0
    for kind in ROOM:
        assert (await full.ask(kind)).is_success


async def test_whoever_waits_for_what_another_reads_takes_no_place(
    full: Full, application: Application
) -> None:
    project = await post_project(full.owner)
    path = f"/api/v1/projects/{project['id']}"
    guests = [
        httpx.AsyncClient(
            transport=httpx.ASGITransport(application, client=(f"203.0.113.{number}", 1)),
            base_url="http://mercenary",
        )
        for number in range(5 * PLACES)
    ]
    for guest in guests:  # each has a share of their limit from then on
        assert (await guest.get(path)).status_code == 200
    assert (await full.owner.patch(f"/projects/{project['id']}", {"budget": "18.00"})).is_success
    answers = await asyncio.gather(*(guest.get(path) for guest in guests))
    assert [answer.json()["budget"] for answer in answers] == ["18.00"] * len(guests)
    for guest in guests:
        await guest.aclose()


async def test_a_refusal_is_a_problem_that_says_when_to_come_back_and_changes_nothing(
    full: Full, lock: asyncpg.Connection
) -> None:
    project = await post_project(full.owner)
    await lock.execute("SELECT 1 FROM projects WHERE id = $1 FOR UPDATE", project["id"])
    await full.fill(project["id"], PLACES)
    before = {name: batch.measures.asks for name, batch in engine.current().batches.items()}
    retries = set()
    for number in range(40):
        answer = await full.client.post(
            "/api/v1/auth/register",
            json=new_account(),
            headers={"X-Request-Id": f"refused-{number:04}"},
        )
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-request-id"] == f"refused-{number:04}"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.json() == {
            "type": "/problems/overloaded",
            "title": "Too busy to answer in time",
            "status": 503,
            "instance": f"refused-{number:04}",
            "detail": "The server has more to do than it can do in time.",
        }
        retries.add(int(answer.headers["retry-after"]))
    assert 1 <= min(retries) < max(retries) <= LONGEST_RETRY
    after = {name: batch.measures.asks for name, batch in engine.current().batches.items()}
    assert before == after
    assert full.application.admission.in_flight == PLACES
    await lock.execute("ROLLBACK")
    await asyncio.gather(*full.waiting)


async def test_a_full_worker_still_tells_how_it_is(full: Full, lock: asyncpg.Connection) -> None:
    project = await post_project(full.owner)
    await lock.execute("SELECT 1 FROM projects WHERE id = $1 FOR UPDATE", project["id"])
    await full.fill(project["id"], PLACES)
    assert (await full.ask("write")).status_code == 503
    for path in ("/livez", "/readyz", "/health", "/openapi.json"):
        assert (await full.client.get(path)).status_code == 200
    await lock.execute("ROLLBACK")
    await asyncio.gather(*full.waiting)


async def test_people_whose_passwords_are_hashed_take_nobodys_place(
    full: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    hash_now = PasswordHasher.hash

    def hash_slowly(hasher: PasswordHasher, password: str) -> str:
        assert go_on.wait(10)
        return hash_now(hasher, password)

    monkeypatch.setattr(PasswordHasher, "hash", hash_slowly)
    threads = authenticator().passwords._threads
    free = threads._free
    register: list[asyncio.Task[httpx.Response]] = []
    while len(register) <= PLACES:  # one by one: on their way to the threads they do take a place
        joining = full.client.post("/api/v1/auth/register", json=new_account())
        register.append(asyncio.create_task(joining))
        await until(lambda: threads._free == free - len(register))
    assert full.application.admission.in_flight == 0
    assert (await full.ask("search")).is_success
    go_on.set()
    assert {answer.status_code for answer in await asyncio.gather(*register)} == {201}
    assert full.application.admission.in_flight == 0


def test_each_endpoint_has_the_class_that_its_method_and_parameters_tell() -> None:
    for endpoint in ENDPOINTS:
        router = Router([endpoint], 8)
        found, _ = router.resolve(endpoint.method, endpoint.route.replace("{", "").replace("}", ""))
        if endpoint.rate is UNLIMITED:
            expected = None
        elif endpoint.method == "GET":
            expected = Criticality.READ
        else:
            expected = Criticality.WRITE
        assert found.criticality(b"limit=3&role=q") is expected
        searches = found.criticality(b"limit=3&q=x") is Criticality.SEARCH
        assert searches == (endpoint.route in SEARCHED and endpoint.method == "GET")


SEARCHED = {"/api/v1/projects", "/api/v1/users", "/api/v1/skills", "/api/v1/stats/skills"}
