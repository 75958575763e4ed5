"""What each write tells: its events are in the outbox if and only if it was committed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import asyncpg
import httpx
import pytest

from mercenary.app import ENDPOINTS
from mercenary.db import outbox
from tests.conftest import Statements
from tests.db.conftest import connected
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

WRITERS = [endpoint for endpoint in ENDPOINTS if endpoint.method != "GET"]
SILENT = {
    "login": "a new session has an id that nobody has asked for",
    "refresh": "the session lives on, and with a newer token only its owner is concerned",
}
TALLIED = {"project.updated": "project:{project} projects"}
BID = {"proposal.submitted": ""} | TALLIED
ENDED = {"session.ended": "sessions:{user}"}
CHANGED = {"user.updated": "user:{user} users"}
# The events of each writing endpoint, with their tags.
TOLD: dict[str, dict[str, str]] = {
    "register": {"user.created": "user:{user} users"},
    "logout": ENDED,
    "change_password": ENDED,
    "leave": {"user.deactivated": "user:{user} users"} | ENDED,
    "change_own_user": CHANGED,
    "replace_own_skills": CHANGED,
    "create_skill": {"skill.created": "skill:{skill} skills"},
    "create_project": {"project.created": "project:{project} projects"},
    "change_project": {"project.updated": "project:{project} projects"},
    "delete_project": {"project.deleted": ""},
    "submit_proposal": BID,
    "change_proposal": {"proposal.updated": ""} | TALLIED,
    "accept_proposal": {
        "project.updated": "project:{project} projects",
        "proposal.accepted": "",
        "proposal.rejected": "",
    },
    "reject_proposal": {"proposal.rejected": ""},
}


class Told(NamedTuple):
    """A row of the outbox."""

    name: str
    subject: str
    version: int
    key: int
    tags: str
    stamp: int


class Call(NamedTuple):
    """A call that changes something, and the ids that its events may name."""

    person: Person
    path: str
    body: Any = None
    ids: dict[str, int] = {}  # noqa: RUF012 - nobody changes it

    async def make(self, name: str, **headers: str) -> httpx.Response:
        """Call the endpoint of this name."""
        method = next(each.method for each in WRITERS if each.name == name)
        options = {} if self.body is None else {"json": self.body}
        return await self.person.request(method, self.path, headers=headers, **options)


@pytest.fixture
async def database(database_uri: str) -> Any:
    async with connected(database_uri) as connection:
        yield connection


async def take(database: asyncpg.Connection) -> list[Told]:
    """What has been told since the last time."""
    rows = await database.fetch(
        "WITH taken AS (DELETE FROM outbox RETURNING *)"
        " SELECT name, subject, version, key, tags, stamp FROM taken ORDER BY id"
    )
    return [Told(*row) for row in rows]


class Stage:
    """Prepares calls: everything is there that they need."""

    def __init__(self, client: httpx.AsyncClient, database_uri: str) -> None:
        self.client = client
        self.database_uri = database_uri

    async def call(self, name: str) -> Call:
        """A call of the endpoint of this name that will be answered well."""
        if name.endswith("proposal"):
            return await self._about_a_proposal(name)
        if name in ("change_project", "delete_project"):
            owner = await sign_up(self.client)
            status = "draft" if name == "delete_project" else "open"
            project = (await post_project(owner, status=status))["id"]
            body = {"title": "New"} if name == "change_project" else None
            return Call(owner, f"/projects/{project}", body, {"project": project})
        if name == "create_skill":
            admin = await sign_up_admin(self.client, self.database_uri)
            return Call(admin, "/skills", {"name": f"Skill of {admin.email}"})
        role = "freelancer" if name == "replace_own_skills" else "client"
        return self._of_somebody(name, await sign_up(self.client, role))

    def _of_somebody(self, name: str, person: Person) -> Call:
        calls: dict[str, tuple[str, Any]] = {
            "register": ("/auth/register", new_account()),
            "login": ("/auth/login", {"email": person.email, "password": PASSWORD}),
            "refresh": ("/auth/refresh", {"refresh_token": person.refresh_token}),
            "logout": ("/auth/logout", None),
            "change_password": ("/auth/password", {"current": PASSWORD, "new": f"{PASSWORD}, new"}),
            "leave": ("/users/me", None),
            "change_own_user": ("/users/me", {"headline": "New"}),
            "replace_own_skills": ("/users/me/skills", []),
            "create_project": ("/projects", new_project()),
        }
        path, body = calls[name]
        return Call(person, path, body, {"user": person.id})

    async def _about_a_proposal(self, name: str) -> Call:
        owner, bidder, other = [
            await sign_up(self.client, role) for role in ("client", "freelancer", "freelancer")
        ]
        project = (await post_project(owner))["id"]
        if name == "submit_proposal":
            path = f"/projects/{project}/proposals"
            return Call(bidder, path, new_proposal(), {"project": project})
        proposal = (await submit_proposal(bidder, project))["id"]
        await submit_proposal(other, project)
        ids = {"project": project, "proposal": proposal}
        if name == "change_proposal":
            return Call(bidder, f"/proposals/{proposal}", {"bid": "80.00"}, ids)
        return Call(owner, f"/proposals/{proposal}/{name.partition('_')[0]}", None, ids)


Prepare = Callable[[str], Awaitable[Call]]


@pytest.fixture
def prepare(client: httpx.AsyncClient, database_uri: str, database: asyncpg.Connection) -> Prepare:
    """Prepares a call of the endpoint of a name; what that tells is taken from the outbox."""

    async def prepared(name: str) -> Call:
        call = await Stage(client, database_uri).call(name)
        await take(database)
        return call

    return prepared


def test_every_endpoint_that_writes_tells_or_says_why_not() -> None:
    assert {endpoint.name for endpoint in WRITERS} == {*TOLD, *SILENT}
    assert not TOLD.keys() & SILENT.keys()


@pytest.mark.parametrize("name", [endpoint.name for endpoint in WRITERS])
async def test_a_write_tells_what_it_changed(
    name: str, prepare: Prepare, database: asyncpg.Connection
) -> None:
    call = await prepare(name)
    answer = await call.make(name)
    assert answer.status_code < 300, answer.text
    told = await take(database)
    ids = dict(call.ids)
    if answer.status_code == 201:
        ids[str(told[0].subject).partition(":")[0]] = answer.json()["id"]
    assert {each.name: each.tags for each in told} == {
        event: tags.format(**ids) for event, tags in TOLD.get(name, {}).items()
    }
    assert len({each.stamp for each in told}) <= 1
    assert all(each.stamp > 0 and each.key > 0 for each in told)


@pytest.mark.parametrize("name", [each.name for each in WRITERS if each.idempotent])
async def test_a_write_that_is_replayed_tells_nothing_more(
    name: str, prepare: Prepare, database: asyncpg.Connection
) -> None:
    call = await prepare(name)
    key = {"Idempotency-Key": f"tells-{name}"}
    first = await call.make(name, **key)
    told = await take(database)
    assert len(told) >= len(TOLD.get(name, {}))
    again = await call.make(name, **key)
    if again.status_code != 401:  # the caller's session may have ended by the first
        assert again.content == first.content
    assert await take(database) == []


@pytest.mark.parametrize("name", sorted(TOLD))
async def test_a_write_that_isnt_committed_tells_nothing(
    name: str, prepare: Prepare, database: asyncpg.Connection
) -> None:
    """The database refuses the transaction at the very end, once all was done and told."""
    call = await prepare(name)
    await database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE unique_violation; END$$"
    )
    await database.execute(
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON outbox"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    try:
        assert (await call.make(name)).status_code >= 400
    finally:
        await database.execute("DROP TRIGGER refuse ON outbox")
        await database.execute("DROP FUNCTION refuse")
    assert await take(database) == []


async def test_an_ask_that_a_rule_refuses_tells_nothing(
    client: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    owner = await sign_up(client)
    await take(database)
    bodies = [new_project(), new_project(skill_ids=[999_999]), new_project(), new_project()]
    answers = await asyncio.gather(*(owner.post("/projects", body) for body in bodies))
    made = sorted(answer.json()["id"] for answer in answers if answer.status_code == 201)
    told = await take(database)
    assert sorted(each.key for each in told) == made
    assert len(made) == 3
    assert len({each.stamp for each in told}) == 1


async def test_changes_of_one_resource_in_a_batch_are_told_as_they_leave_it(
    client: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    owner = await sign_up(client)
    project = await post_project(owner)
    await take(database)
    path = f"/projects/{project['id']}"
    answers = await asyncio.gather(*(owner.patch(path, {"title": f"Title {n}"}) for n in range(5)))
    assert {answer.status_code for answer in answers} == {200}, answers[-1].text
    versions = sorted(answer.json()["version"] for answer in answers)
    told = await take(database)
    assert told[-1].version == versions[-1] == 6
    assert [each.version for each in told] == sorted({each.version for each in told})


async def test_what_guests_cant_see_has_no_tags(
    client: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    owner = await sign_up(client)
    await take(database)
    project = await post_project(owner, status="draft")
    path = f"/projects/{project['id']}"
    await owner.patch(path, {"title": "Still a draft"})
    assert [each.tags for each in await take(database)] == ["", ""]
    await owner.patch(path, {"status": "open"})
    assert [each.tags for each in await take(database)] == [f"project:{project['id']} projects"]


async def test_events_cost_one_statement_a_batch_and_none_where_nothing_is_told(
    client: httpx.AsyncClient, statements: Statements
) -> None:
    owner = await sign_up(client)
    with statements.recorded():
        await asyncio.gather(*(owner.post("/projects", new_project()) for _ in range(8)))
    assert sum("INTO outbox" in each for each in statements) in (1, 2)
    with statements.recorded():
        await client.post("/api/v1/auth/login", json={"email": owner.email, "password": PASSWORD})
    assert not any("outbox" in each for each in statements)


def test_recording_outside_of_a_transaction_is_an_error() -> None:
    with pytest.raises(LookupError):
        outbox.record(outbox.Event("project.created", "project:1"))
