"""People and things for tests, made through the API as anybody would make them."""

import itertools
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx

from mercenary import settings
from mercenary.auth.tokens import mint

PASSWORD = "a long and private word"
_numbers = itertools.count(1)


@dataclass
class Person:
    """Somebody signed in: their user as registered, their tokens, and requests in their name."""

    client: httpx.AsyncClient
    user: dict[str, Any]
    email: str
    access_token: str
    refresh_token: str = ""

    @property
    def id(self) -> int:
        """The user's id."""
        return int(self.user["id"])

    @property
    def headers(self) -> dict[str, str]:
        """What proves who calls."""
        return {"Authorization": f"Bearer {self.access_token}"}

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask in this person's name; `path` is below the base path."""
        return await self.client.request(
            method, f"/api/v1{path}", headers=self.headers | options.pop("headers", {}), **options
        )

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """GET in this person's name."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, json: Any = None) -> httpx.Response:
        """POST in this person's name."""
        return await self.request("POST", path, json=json)

    async def patch(self, path: str, json: Any) -> httpx.Response:
        """PATCH in this person's name."""
        return await self.request("PATCH", path, json=json)


def new_account(role: str = "client", **changes: Any) -> dict[str, Any]:
    """A registration that nobody has made yet."""
    number = next(_numbers)
    return {
        "email": f"Person{number}@Example.com",
        "password": PASSWORD,
        "name": f"Person {number}",
        "role": role,
    } | changes


async def sign_up(client: httpx.AsyncClient, role: str = "client", **changes: Any) -> Person:
    """Register somebody and sign them in."""
    account = new_account(role, **changes)
    registered = await client.post("/api/v1/auth/register", json=account)
    assert registered.status_code == 201, registered.text
    return await sign_in(client, account["email"], account["password"], registered.json())


async def sign_in(
    client: httpx.AsyncClient, email: str, password: str, user: dict[str, Any]
) -> Person:
    """Sign somebody in once more."""
    answer = await client.post("/api/v1/auth/login", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    tokens = answer.json()
    return Person(client, user, email, tokens["access_token"], tokens["refresh_token"])


async def sign_up_admin(client: httpx.AsyncClient, database_uri: str) -> Person:
    """An admin, which nobody can register as."""
    person = await sign_up(client)
    connection = await asyncpg.connect(database_uri)
    try:
        await connection.execute("UPDATE users SET role = 'admin' WHERE id = $1", person.id)
    finally:
        await connection.close()
    answer = await person.client.post(
        "/api/v1/auth/login", json={"email": person.email, "password": PASSWORD}
    )
    person.access_token = answer.json()["access_token"]
    person.user["role"] = "admin"
    return person


def token_of(user_id: int, role: str, session_id: int, **options: Any) -> str:
    """A token that is signed as ours are, whatever session it names."""
    return mint(settings.get(), user_id, role, session_id, **options)


def new_project(**changes: Any) -> dict[str, Any]:
    """A project to post."""
    return {
        "title": "Rewrite the billing service",
        "description": "Twelve endpoints, two of them slow.",
        "budget": "1500.00",
        "currency": "USD",
        "status": "open",
    } | changes


def new_proposal(**changes: Any) -> dict[str, Any]:
    """A proposal to make."""
    return {
        "cover_letter": "I have done two of these.",
        "bid": "1200.00",
        "estimated_days": 14,
    } | changes


async def post_project(person: Person, **changes: Any) -> dict[str, Any]:
    """Post a project as this client."""
    answer = await person.post("/projects", new_project(**changes))
    assert answer.status_code == 201, answer.text
    project: dict[str, Any] = answer.json()
    return project


async def submit_proposal(person: Person, project_id: int, **changes: Any) -> dict[str, Any]:
    """Bid for a project as this freelancer."""
    answer = await person.post(f"/projects/{project_id}/proposals", new_proposal(**changes))
    assert answer.status_code == 201, answer.text
    proposal: dict[str, Any] = answer.json()
    return proposal
