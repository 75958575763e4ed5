"""Idempotency keys: what is sent again is answered as before, and not carried out again."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest

from mercenary.app import ENDPOINTS
from mercenary.http.endpoint import Endpoint
from tests.conftest import Statements
from tests.factories import (
    PASSWORD,
    Person,
    new_account,
    new_project,
    new_proposal,
    post_project,
    sign_up,
    sign_up_admin,
    submit_proposal,
)

POSTS = [each for each in ENDPOINTS if each.method == "POST"]
TABLES = ("users", "credentials", "sessions", "refresh_tokens", "skills", "projects", "proposals")


@dataclass
class Request:
    """A POST that would do something each time it is carried out."""

    client: httpx.AsyncClient
    path: str
    body: Any
    headers: dict[str, str]

    async def send(self, key: str | None, **changes: Any) -> httpx.Response:
        """Send it, under a key or none; `changes` replace its path or body."""
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        if key is not None:
            headers.append((b"Idempotency-Key", key.encode()))
        return await self.client.post(
            f"/api/v1{changes.get('path', self.path)}",
            json=changes.get("body", self.body),
            headers=headers,
        )


@pytest.fixture(scope="module")
async def owner(client: httpx.AsyncClient) -> Person:
    return await sign_up(client)


@pytest.fixture(scope="module")
async def admin(client: httpx.AsyncClient, database_uri: str) -> Person:
    return await sign_up_admin(client, database_uri)


@pytest.fixture
async def database(database_uri: str) -> Any:
    connection = await asyncpg.connect(database_uri)
    yield connection
    await connection.close()


@pytest.fixture
def make(client: httpx.AsyncClient, admin: Person) -> Callable[[str], Awaitable[Request]]:
    """Makes a request to the endpoint of a name, with everything there that it needs."""

    def of(person: Person, path: str, body: Any = None) -> Request:
        return Request(client, path, body, person.headers)

    async def bid() -> tuple[Person, dict[str, Any]]:
        owner, freelancer = await sign_up(client), await sign_up(client, "freelancer")
        return owner, await submit_proposal(freelancer, (await post_project(owner))["id"])

    async def build(name: str) -> Request:
        person = await sign_up(client)
        if name == "submit_proposal":
            freelancer = await sign_up(client, "freelancer")
            path = f"/projects/{(await post_project(person))['id']}/proposals"
            return of(freelancer, path, new_proposal())
        if name in ("accept_proposal", "reject_proposal"):
            owner, proposal = await bid()
            return of(owner, f"/proposals/{proposal['id']}/{name.partition('_')[0]}")
        login = {"email": person.email, "password": PASSWORD}
        change = {"current": PASSWORD, "new": "another long and private word"}
        requests = {
            "register": Request(client, "/auth/register", new_account(), {}),
            "login": Request(client, "/auth/login", login, {}),
            "refresh": Request(
                client, "/auth/refresh", {"refresh_token": person.refresh_token}, {}
            ),
            "logout": of(person, "/auth/logout"),
            "change_password": of(person, "/auth/password", change),
            "create_skill": of(admin, "/skills", {"name": f"Skill {person.id}"}),
            "create_project": of(person, "/projects", new_project()),
        }
        return requests[name]

    return build


async def rows(database: asyncpg.Connection) -> list[int]:
    return [await database.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES]


def test_every_post_takes_a_key() -> None:
    assert [each.name for each in POSTS if not each.idempotent] == []


@pytest.mark.parametrize(
    # A session that has ended calls nothing again, so a second logout is refused at the door.
    "endpoint",
    [each for each in POSTS if each.name != "logout"],
    ids=lambda endpoint: endpoint.name,
)
async def test_a_second_sending_is_answered_as_the_first(
    endpoint: Endpoint,
    make: Callable[[str], Awaitable[Request]],
    database: asyncpg.Connection,
) -> None:
    request = await make(endpoint.name)
    first = await request.send("a-key")
    assert first.status_code in (200, 201, 204), first.text
    assert "idempotency-replayed" not in first.headers
    before = await rows(database)
    second = await request.send("a-key")
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["idempotency-replayed"] == "true"
    kept = ("cache-control", "content-type", "etag", "location", "vary")
    assert [second.headers.get(name) for name in kept] == [first.headers.get(name) for name in kept]
    assert await rows(database) == before


@pytest.mark.parametrize("endpoint", POSTS, ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ключ"])
async def test_what_is_no_key_is_a_fault(
    endpoint: Endpoint, key: str, make: Callable[[str], Awaitable[Request]]
) -> None:
    answer = await (await make(endpoint.name)).send(key)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["Idempotency-Key"]


async def test_a_key_stands_for_one_request(owner: Person) -> None:
    request = Request(owner.client, "/projects", new_project(), owner.headers)
    assert (await request.send("one")).status_code == 201
    for changes in ({"body": new_project(title="Another")}, {"path": "/projects?x=1"}):
        answer = await request.send("one", **changes)
        assert answer.status_code == 422
    other = await request.send("one", body=new_project(title="Another"))
    assert other.json()["type"] == "/problems/idempotency-key-reused"
    assert (await request.send("one")).headers["idempotency-replayed"] == "true"


async def test_paths_of_one_route_are_different_requests(
    client: httpx.AsyncClient, owner: Person
) -> None:
    freelancer = await sign_up(client, "freelancer")
    projects = [await post_project(owner) for _ in range(2)]
    request = Request(client, "", new_proposal(), freelancer.headers)
    paths = [f"/projects/{project['id']}/proposals" for project in projects]
    assert (await request.send("one", path=paths[0])).status_code == 201
    assert (await request.send("one", path=paths[1])).status_code == 422


async def test_keys_of_other_callers_and_routes_are_other_keys(
    client: httpx.AsyncClient, owner: Person, admin: Person
) -> None:
    other = await sign_up(client)
    for person, path, body in (
        (owner, "/projects", new_project(title="Mine")),
        (other, "/projects", new_project(title="Theirs")),
        (admin, "/skills", {"name": "A skill under the same key"}),
    ):
        answer = await Request(client, path, body, person.headers).send("the-same")
        assert answer.status_code == 201
        assert "idempotency-replayed" not in answer.headers


async def test_a_refusal_is_not_kept(client: httpx.AsyncClient, owner: Person) -> None:
    """A request that changed nothing is judged anew."""
    draft = await post_project(owner, status="draft")
    freelancer = await sign_up(client, "freelancer")
    path = f"/projects/{draft['id']}/proposals"
    request = Request(client, path, new_proposal(), freelancer.headers)
    assert (await request.send("again")).status_code == 404
    await owner.patch(f"/projects/{draft['id']}", {"status": "open"})
    assert (await request.send("again")).status_code == 201


async def test_of_many_sendings_at_once_one_is_carried_out(
    owner: Person, database: asyncpg.Connection
) -> None:
    request = Request(owner.client, "/projects", new_project(title="Only once"), owner.headers)
    answers = await asyncio.gather(*(request.send("at-once") for _ in range(40)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {201, 409}
    bodies = {answer.content for answer in answers if answer.status_code == 201}
    assert len(bodies) == 1
    fresh = [
        answer
        for answer in answers
        if answer.status_code == 201 and "idempotency-replayed" not in answer.headers
    ]
    assert len(fresh) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["type"] == "/problems/idempotency-key-in-use"
    count = "SELECT count(*) FROM projects WHERE title = 'Only once'"
    assert await database.fetchval(count) == 1


async def test_a_key_that_another_transaction_holds_is_in_use(
    client: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    person = await sign_up(client)
    request = Request(client, "/projects", new_project(), person.headers)
    assert (await request.send("held")).status_code == 201
    key: bytes = await database.fetchval(
        "DELETE FROM idempotency_keys WHERE user_id = $1 RETURNING key_hash", person.id
    )
    async with database.transaction():
        lock = int.from_bytes(key[:8], "big", signed=True)
        await database.execute("SELECT pg_advisory_xact_lock($1)", lock)
        refused = await request.send("held")
        assert (refused.status_code, refused.json()["type"]) == (
            409,
            "/problems/idempotency-key-in-use",
        )
    answer = await request.send("held")
    assert (answer.status_code, "idempotency-replayed" in answer.headers) == (201, False)


async def test_an_expired_key_begins_anew(owner: Person, database: asyncpg.Connection) -> None:
    request = Request(owner.client, "/projects", new_project(title="Old"), owner.headers)
    first = await request.send("old")
    await database.execute(
        "UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 second'"
    )
    second = await request.send("old")
    assert (second.status_code, "idempotency-replayed" in second.headers) == (201, False)
    assert second.json()["id"] != first.json()["id"]
    third = await request.send("old")
    assert third.content == second.content


async def test_guests_at_other_addresses_have_other_keys(application: Any) -> None:
    answers = []
    for address in ("192.0.2.1", "192.0.2.2"):
        transport = httpx.ASGITransport(application, client=(address, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://mercenary") as client:
            request = Request(client, "/auth/register", new_account(), {})
            answers.append(await request.send("1"))
    assert [answer.status_code for answer in answers] == [201, 201]


async def test_what_is_stored_opens_only_with_the_request(
    client: httpx.AsyncClient, owner: Person, database: asyncpg.Connection
) -> None:
    login = {"email": owner.email, "password": PASSWORD}
    answer = await Request(client, "/auth/login", login, {}).send("secret-sign-in")
    stored = await database.fetch("SELECT * FROM idempotency_keys")
    everything = repr([dict(row) for row in stored])
    tokens = answer.json()
    for secret in (tokens["access_token"], tokens["refresh_token"], "secret-sign-in", PASSWORD):
        assert secret not in everything
        assert secret.encode().hex() not in everything


async def test_a_lost_answer_of_a_rotation_can_be_had_again(client: httpx.AsyncClient) -> None:
    """Without the key the second use of a refresh token ends the session."""
    person = await sign_up(client)
    request = Request(client, "/auth/refresh", {"refresh_token": person.refresh_token}, {})
    first, second = await request.send("retry"), await request.send("retry")
    assert first.json() == second.json()
    person.access_token = second.json()["access_token"]
    assert (await person.get("/users/me")).status_code == 200
    assert (await request.send(None)).status_code == 401
    assert (await person.get("/users/me")).status_code == 401


async def test_a_key_costs_two_statements_of_the_batch(
    owner: Person, statements: Statements
) -> None:
    await post_project(owner)  # ids are drawn in blocks
    with statements.recorded():
        await post_project(owner)
    without = len(statements)
    request = Request(owner.client, "/projects", new_project(), owner.headers)
    with statements.recorded():
        await request.send("counted")
    assert len(statements) == without + 2
    with statements.recorded():
        await request.send("counted")
    assert len(statements) == 2  # the session, and the answer
