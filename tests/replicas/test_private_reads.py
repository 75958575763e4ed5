"""Accounts, sessions and bids are never read from a replica; a replica is asked who it was."""

from collections.abc import AsyncIterator
from importlib import import_module
from pkgutil import walk_packages

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url

import mercenary
from mercenary.db.batches import ReadBatch, ReplicatedRead
from mercenary.db.listing import Listing
from mercenary.db.replicas import Replicas
from tests.factories import Person, post_project, sign_up, sign_up_admin, submit_proposal
from tests.replicas.conftest import caught_up

PUBLIC = {
    "select_projects",
    "select_skills",
    "select_public_users",
    "select_project_pages",
    "select_public_pages",
    "select_skill_pages",
}
PRIVATE_TABLES = {"credentials", "sessions", "proposals", "idempotency_keys", "outbox"}


@pytest.fixture
async def replica(
    replicas: Replicas, replica_uris: tuple[str, ...]
) -> AsyncIterator[asyncpg.Connection]:
    """A way to ask a replica what it was asked; the statements before are forgotten."""
    uri = make_url(replica_uris[0]).set(database="mercenary")
    connection = await asyncpg.connect(uri.render_as_string(hide_password=False))
    await connection.execute("SELECT pg_stat_statements_reset()")
    yield connection
    await connection.close()


def declared() -> dict[str, bool]:
    """Each read that the product declares, by its name, and whether a replica may answer it."""
    found: dict[str, bool] = {}
    for module in walk_packages(mercenary.__path__, "mercenary."):
        if module.name.endswith((".service", ".sessions", ".idempotency", ".consistency")):
            for value in vars(import_module(module.name)).values():
                if isinstance(value, ReadBatch):
                    found[value.name] = isinstance(value, ReplicatedRead)
                elif isinstance(value, Listing):
                    pages = value._pages
                    found[pages.name] = isinstance(pages, ReplicatedRead)
    return found


def test_nothing_but_what_everybody_may_see_is_declared_to_be_read_from_replicas() -> None:
    reads = declared()
    assert {name for name, replicated in reads.items() if replicated} == PUBLIC
    assert len(reads) > 2 * len(PUBLIC)


async def test_a_day_in_the_marketplace_asks_replicas_for_nothing_private(
    client: httpx.AsyncClient,
    database_uri: str,
    owner: Person,
    replicas: Replicas,
    replica: asyncpg.Connection,
) -> None:
    freelancer = await sign_up(client, "freelancer")
    admin = await sign_up_admin(client, database_uri)
    project = await post_project(owner)
    bid = await submit_proposal(freelancer, project["id"])
    await caught_up(replicas)
    for _ in range(4):  # whichever replica it is that answers
        await caught_up(replicas)
        for person in (owner, freelancer, admin):
            for path in (
                "/users/me",
                f"/users/{owner.id}",
                "/users",
                f"/projects/{project['id']}",
                "/projects?include=total,facets",
                f"/projects/{project['id']}/proposals",
                f"/proposals/{bid['id']}",
                "/skills",
                "/stats/skills",
            ):
                await person.get(path)
        await owner.patch("/users/me", {"headline": "Busy"})
        await owner.patch(f"/projects/{project['id']}", {"title": "Changed"})
    accepted = await owner.post(f"/proposals/{bid['id']}/accept")
    assert accepted.status_code == 200, accepted.text
    rows = await replica.fetch(
        "SELECT query FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
        " WHERE datname = $1",
        make_url(database_uri).database,
    )
    asked = [str(row["query"]) for row in rows]
    assert any("projects" in query for query in asked)
    private = {table for query in asked for table in PRIVATE_TABLES if table in query}
    assert private == set()
