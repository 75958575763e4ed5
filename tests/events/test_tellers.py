"""What tells of its changes beside the endpoints: the making of admins, cleaning, thieves."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary import housekeeping
from mercenary.auth import admins
from mercenary.db import engine
from mercenary.db.batches import write_batch
from mercenary.db.cleaning import clean
from mercenary.db.outbox import Event, record, telling
from mercenary.errors import Conflict
from mercenary.http.access import UserId
from tests.db.conftest import connected
from tests.factories import post_project, sign_up, submit_proposal

Told = set[tuple[str, str, int, str]]


@pytest.fixture
async def database(database_uri: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database of the outbox."""
    async with connected(database_uri) as connection:
        yield connection


async def told(database: asyncpg.Connection) -> Told:
    """What the outbox has told since the last time."""
    rows = await database.fetch("DELETE FROM outbox RETURNING name, subject, version, tags")
    return {tuple(row) for row in rows}


async def insert_notes(tx: AsyncConnection, asks: Sequence[int]) -> Sequence[int]:
    """Tell of all notes, then store them, of which the database may refuse one."""
    record(*(Event("note.created", f"note:{id}", 1, id) for id in asks))
    for id in asks:
        await tx.execute(text("INSERT INTO notes VALUES (:id)"), {"id": id})
    return asks


add_note = write_batch(insert_notes)


async def cleaned() -> None:
    """Do all chores."""
    await clean(engine.current(), housekeeping.CHORES, rows=1000, pause=0, stopping=asyncio.Event())


async def test_an_admins_making_and_unmaking_is_told(
    client: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    ada = await sign_up(client)
    await told(database)
    ended = ("session.ended", f"user:{ada.id}", 0, f"sessions:{ada.id}")
    tags = f"user:{ada.id} users"
    await admins.promote(engine.current(), UserId(ada.id))
    assert await told(database) == {("user.updated", f"user:{ada.id}", 2, tags), ended}
    await admins.promote(engine.current(), UserId(ada.id))
    assert await told(database) == set()
    await admins.demote(engine.current(), UserId(ada.id))
    assert await told(database) == {("user.updated", f"user:{ada.id}", 3, tags), ended}
    made = await admins.create(engine.current(), "root@example.com", "Root", "hash")
    assert await told(database) == {
        ("user.created", f"user:{made}", 1, f"user:{made} users"),
    }


async def test_a_token_that_is_used_twice_tells_that_its_session_has_ended(
    client: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    ada = await sign_up(client)
    await told(database)
    body = {"refresh_token": ada.refresh_token}
    assert (await client.post("/api/v1/auth/refresh", json=body)).status_code == 200
    assert await told(database) == set()
    assert (await client.post("/api/v1/auth/refresh", json=body)).status_code == 401
    assert await told(database) == {
        ("session.ended", f"user:{ada.id}", 0, f"sessions:{ada.id}"),
    }


async def test_what_cleaning_makes_of_a_closed_account_is_told(
    client: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    ada, leo = await sign_up(client), await sign_up(client, "freelancer")
    project = (await post_project(ada))["id"]
    draft = (await post_project(ada, status="draft"))["id"]
    other = (await post_project(await sign_up(client)))["id"]
    proposal = (await submit_proposal(leo, other))["id"]
    for person in (ada, leo):
        await person.request("DELETE", "/users/me")
    await database.execute(
        "UPDATE users SET created_at = created_at - interval '31 days',"
        " deactivated_at = deactivated_at - interval '31 days' WHERE NOT is_active"
    )
    await told(database)
    await cleaned()
    assert await told(database) == {
        ("project.updated", f"project:{project}", 2, f"project:{project} projects"),  # cancelled
        ("project.updated", f"project:{project}", 3, f"project:{project} projects"),  # without name
        ("project.updated", f"project:{other}", 3, f"project:{other} projects"),  # has no bid now
        ("project.deleted", f"project:{draft}", 1, ""),
        ("proposal.updated", f"proposal:{proposal}", 2, ""),
        ("user.erased", f"user:{ada.id}", 3, ""),
        ("user.erased", f"user:{leo.id}", 3, ""),
    }
    await cleaned()
    assert await told(database) == set()


async def test_of_a_batch_with_a_row_that_is_refused_only_the_others_are_told(
    client: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    """The batch is run again in halves, and tells anew in each."""
    await told(database)
    await database.execute("CREATE TABLE notes (id bigint CHECK (id <> 13))")
    asks = range(1, 33)
    outcomes = await asyncio.gather(*(add_note(ask) for ask in asks), return_exceptions=True)
    assert isinstance(outcomes[12], Conflict)
    assert engine.current().batches["insert_notes"].measures.splits > 0
    assert {subject for _, subject, _, _ in await told(database)} == {
        f"note:{ask}" for ask in asks if ask != 13
    }


async def test_what_was_recorded_before_an_error_isnt_told(
    client: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    await told(database)
    with pytest.raises(RuntimeError):  # noqa: PT012 - as whoever tells does it
        async with (
            engine.current().connecting() as connection,
            connection.begin(),
            telling(connection),
        ):
            record(Event("cache.purged", "*"))
            raise RuntimeError
    assert await told(database) == set()
