"""Every call that anybody can make, made: by everybody, on their own and others' things."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from mercenary.app import ENDPOINTS
from mercenary.http.endpoint import Endpoint
from tests.api import authorization
from tests.api.authorization import Row, rows_of
from tests.assets import SCRIPT
from tests.db.conftest import connected
from tests.factories import (
    PASSWORD,
    Person,
    new_account,
    new_project,
    new_proposal,
    sign_up,
    sign_up_admin,
)

BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}
STATES = {
    "users": ("active", "deactivated"),
    "projects": ("draft", "open", "in_progress", "completed", "cancelled"),
    "proposals": ("pending", "accepted", "rejected", "withdrawn"),
}
TABLES = {
    kind: rows_of(table)
    for kind, table in (
        ("", authorization.ANYTHING),
        ("users", authorization.USERS),
        ("projects", authorization.PROJECTS),
        ("proposals", authorization.PROPOSALS),
    )
}
# Everything that a call could change, as one text.
EVERYTHING = (
    "users credentials sessions refresh_tokens skills user_skills projects project_skills"
    " proposals idempotency_keys"
).split()
SNAPSHOT = " UNION ALL ".join(f"SELECT '{name}', t::text FROM {name} t" for name in EVERYTHING)


def kind_of(endpoint: Endpoint) -> str:
    """What resource with states an endpoint is about; nothing where it names none."""
    segments = endpoint.path.strip("/").split("/")
    return segments[0] if segments[1:2] == ["{id}"] and segments[0] in STATES else ""


def parametrized(kind: str) -> pytest.MarkDecorator:
    """Run a test for each row of a table."""
    return pytest.mark.parametrize("row", TABLES[kind], ids=lambda row: f"{row[0]}-{row[1]}")


class World:
    """The running application, and the database beside it."""

    def __init__(self, client: httpx.AsyncClient, uri: str, database: asyncpg.Connection) -> None:
        self.client = client
        self.uri = uri
        self.database = database

    async def person(self, role: str) -> Person:
        """Somebody new."""
        if role == "admin":
            return await sign_up_admin(self.client, self.uri)
        return await sign_up(self.client, role)

    async def left(self) -> Person:
        """Somebody who has deactivated their account."""
        person = await self.person("client")
        await person.request("DELETE", "/users/me")
        return person

    async def project(self, owner: Person, state: str) -> int:
        """A new project in this state."""
        query = """
            INSERT INTO projects
                (id, client_id, client_name, status, currency, budget, title, description)
            VALUES
                (nextval('projects_id_seq'), $1, $2, $3, 'USD', 100, 'Title', 'Description')
            RETURNING id
        """
        name = owner.user["name"]
        return int(await self.database.fetchval(query, owner.id, name, state))

    async def proposal(self, project: int, bidder: Person, state: str) -> int:
        """A new proposal in this state."""
        query = """
            INSERT INTO proposals
                (id, project_id, freelancer_id, status, currency, bid, estimated_days, cover_letter)
            VALUES (nextval('proposals_id_seq'), $1, $2, $3, 'USD', 90, 9, 'Letter')
            RETURNING id
        """
        return int(await self.database.fetchval(query, project, bidder.id, state))

    async def snapshot(self) -> list[str]:
        """All rows there are."""
        return sorted(map(str, await self.database.fetch(SNAPSHOT)))

    async def called(self, name: str, caller: Person | None, path: str, body: Any) -> int:
        """The status of a call, which must change something if and only if it may."""
        before = await self.snapshot()
        endpoint = BY_NAME[name]
        headers = caller.headers if caller else {}
        options = {} if body is None else {"json": body}
        answer = await self.client.request(
            endpoint.method, endpoint.base + path, headers=headers, **options
        )
        writes = endpoint.method != "GET" and answer.status_code < 400
        assert (await self.snapshot() != before) == writes, (name, caller, answer.text)
        return answer.status_code


@pytest.fixture
async def world(client: httpx.AsyncClient, database_uri: str) -> AsyncIterator[World]:
    async with connected(database_uri) as database:
        yield World(client, database_uri, database)


Make = Callable[[str], Awaitable[tuple[dict[str, Person | None], str]]]


async def statuses(world: World, row: Row, make: Make) -> dict[str, int]:
    """What each caller of a row gets; `make` gives all callers and the path, anew for each call."""
    found = {}
    for name in row.statuses:
        callers, path = await make(name)
        body = body_of(row.endpoint, callers[name] or await world.person("client"))
        found[name] = await world.called(row.endpoint, callers[name], path, body)
    return found


def body_of(name: str, person: Person) -> Any:
    """A good body for an endpoint that takes one."""
    return {
        "register": new_account("client"),
        "login": {"email": person.email, "password": PASSWORD},
        "refresh": {"refresh_token": person.refresh_token},
        "change_password": {"current": PASSWORD, "new": f"{PASSWORD}, newer"},
        "change_own_user": {"headline": "New"},
        "replace_own_skills": [],
        "create_skill": {"name": f"Skill of {person.email}"},
        "create_project": new_project(),
        "change_project": {"title": "New title"},
        "submit_proposal": new_proposal(),
        "change_proposal": {"bid": "80.00"},
    }.get(name)


def test_every_endpoint_stands_in_the_table_once_for_each_state() -> None:
    declared = {
        (endpoint.name, state)
        for endpoint in ENDPOINTS
        for state in STATES.get(kind_of(endpoint), ("",))
    }
    rows = [(row.endpoint, row.state) for table in TABLES.values() for row in table]
    assert sorted(rows) == sorted(declared)


@pytest.mark.parametrize("kind", TABLES)
def test_the_table_agrees_with_what_is_declared(kind: str) -> None:
    """Guests get no further than they are declared to, and 403 comes where roles are declared."""
    for row in TABLES[kind]:
        access = BY_NAME[row.endpoint].access
        assert (row.statuses["guest"] == 401) == (not access.guests), row
        for role in ("client", "freelancer", "admin"):
            if access.roles is not None and role not in access.roles:
                assert row.statuses.get(role, 403) == 403, row


@parametrized("")
async def test_what_is_about_nobody_in_particular(row: Row, world: World) -> None:
    admin = await world.person("admin")
    skill = (await admin.post("/skills", {"name": f"Skill for {admin.email}"})).json()["id"]

    async def make(name: str) -> tuple[dict[str, Person | None], str]:
        person = (
            None
            if name == "guest"
            else await (world.left() if name == "left" else world.person(name))
        )
        path = BY_NAME[row.endpoint].path.replace("{id}", str(skill))
        return {name: person}, path.replace("{name}", SCRIPT).replace("{slug}", "not-found")

    assert await statuses(world, row, make) == row.statuses


@parametrized("users")
async def test_what_is_about_a_user(row: Row, world: World) -> None:
    roles = {"stranger": "freelancer", "other": "client", "admin": "admin"}
    callers = {"guest": None} | {name: await world.person(role) for name, role in roles.items()}

    async def make(name: str) -> tuple[dict[str, Person | None], str]:
        user = await (world.person("freelancer") if row.state == "active" else world.left())
        return callers | {"self": user}, path_of(row, user.id)

    assert await statuses(world, row, make) == row.statuses


@parametrized("projects")
async def test_what_is_about_a_project(row: Row, world: World) -> None:
    roles = {"owner": "client", "stranger": "client", "freelancer": "freelancer"}
    roles |= {"bidder": "freelancer", "admin": "admin"}
    people = {name: await world.person(role) for name, role in roles.items()}
    callers = people | {"guest": None, "left": await world.left()}

    async def make(name: str) -> tuple[dict[str, Person | None], str]:
        project = await world.project(people["owner"], row.state)
        if row.state != "draft":
            await world.proposal(project, people["bidder"], "pending")
        return callers, path_of(row, project)

    assert await statuses(world, row, make) == row.statuses


@parametrized("proposals")
async def test_what_is_about_a_proposal(row: Row, world: World) -> None:
    roles = {"owner": "client", "client": "client", "bidder": "freelancer", "rival": "freelancer"}
    people = {name: await world.person(role) for name, role in (roles | {"admin": "admin"}).items()}
    callers = people | {"guest": None, "left": await world.left()}
    of_project = "in_progress" if row.state == "accepted" else "open"

    async def make(name: str) -> tuple[dict[str, Person | None], str]:
        project = await world.project(people["owner"], of_project)
        return callers, path_of(row, await world.proposal(project, people["bidder"], row.state))

    assert await statuses(world, row, make) == row.statuses


def path_of(row: Row, id: int) -> str:
    return BY_NAME[row.endpoint].path.replace("{id}", str(id))
