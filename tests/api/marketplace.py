"""A small marketplace with something of every kind, for tests that walk all declared endpoints.

`path_of` and `caller_of` find for each endpoint a path that exists and somebody who may use it;
`stored` tells everything that the database holds.
"""

from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx

from mercenary.http.endpoint import Endpoint
from tests.assets import SCRIPT
from tests.factories import Person, post_project, sign_up, sign_up_admin, submit_proposal

SKILLS = 20


@dataclass
class Marketplace:
    """A client with an open project and a draft, a freelancer who has bid, and an admin."""

    client: Person
    freelancer: Person
    admin: Person
    project: dict[str, Any]
    draft: dict[str, Any]
    proposal: dict[str, Any]

    def path_of(self, endpoint: Endpoint) -> str:
        """The endpoint's path with the id of something that is there."""
        ids = {"users": self.client.id, "skills": 1}
        ids |= {"projects": self.project["id"], "proposals": self.proposal["id"]}
        kind = endpoint.path.split("/")[1]
        names = {"name": SCRIPT, "slug": "not-found"}
        values = names | ({"id": ids[kind]} if "{id}" in endpoint.path else {})
        return endpoint.route.format(**values)

    def caller_of(self, endpoint: Endpoint) -> Person | None:
        """Somebody who may call; the freelancer where anybody signed in may; None is a guest."""
        if endpoint.access.guests:
            return None
        people = {"client": self.client, "freelancer": self.freelancer, "admin": self.admin}
        roles = endpoint.access.roles or {"freelancer"}
        return next(person for role, person in people.items() if role in roles)


def headers_of(person: Person | None) -> dict[str, str]:
    """What proves who calls; nothing for a guest."""
    return person.headers if person else {}


async def open_marketplace(client: httpx.AsyncClient, database_uri: str) -> Marketplace:
    """A marketplace in the module's database, with the skills 1 to 20."""
    await run(
        database_uri,
        "INSERT INTO skills (id, name)"
        f" SELECT number, 'Skill ' || number FROM generate_series(1, {SKILLS}) AS number",
    )
    owner, freelancer = await sign_up(client), await sign_up(client, "freelancer")
    project, draft = await post_project(owner), await post_project(owner, status="draft")
    return Marketplace(
        owner,
        freelancer,
        await sign_up_admin(client, database_uri),
        project,
        draft,
        await submit_proposal(freelancer, project["id"]),
    )


async def stored(database_uri: str) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    connection = await asyncpg.connect(database_uri)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname='public'")
        rows = {}
        for (table,) in tables:
            found = await connection.fetch(f'SELECT row::text FROM "{table}" AS row ORDER BY 1')
            rows[table] = [row[0] for row in found]
        return rows
    finally:
        await connection.close()


async def run(database_uri: str, statement: str) -> None:
    """Run one statement behind the API's back."""
    connection = await asyncpg.connect(database_uri)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
