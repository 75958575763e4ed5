"""Cleaning up: what is over goes, in small steps, and nothing that is still needed."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary import housekeeping
from mercenary.db import engine
from mercenary.db.cleaning import LOCK_KEY, Cleaned, clean
from tests.conftest import Statements
from tests.db.conftest import connected
from tests.factories import (
    PASSWORD,
    Person,
    new_account,
    new_project,
    post_project,
    sign_in,
    sign_up,
    sign_up_admin,
    submit_proposal,
)

NOTHING = dict.fromkeys(housekeeping.CHORES, 0)
Run = Callable[..., Awaitable[Any]]


@pytest.fixture
async def run(database_uri: str) -> Any:
    """Runs a statement beside the API; gives the first value of its first row, if any."""
    async with connected(database_uri) as connection:
        yield connection.fetchval


async def cleaned(rows: int = 1_000) -> Cleaned:
    """What a whole cleaning came to."""
    return await clean(
        engine.current(), housekeeping.CHORES, rows=rows, pause=0, stopping=asyncio.Event()
    )


async def leave(person: Person, run: Run, days: float = 31) -> None:
    """Deactivate the account, so many days ago."""
    assert (await person.request("DELETE", "/users/me")).status_code == 204
    await run(
        "UPDATE users SET created_at = created_at - $2 * interval '1 day',"
        " deactivated_at = deactivated_at - $2 * interval '1 day' WHERE id = $1",
        person.id,
        days,
    )


async def refreshed(person: Person) -> httpx.Response:
    """Change the person's refresh token for the next."""
    answer = await person.client.post(
        "/api/v1/auth/refresh", json={"refresh_token": person.refresh_token}
    )
    if answer.status_code == 200:
        person.refresh_token = answer.json()["refresh_token"]
        person.access_token = answer.json()["access_token"]
    return answer


async def test_sessions_that_are_over_go_with_their_tokens(
    client: httpx.AsyncClient, run: Run
) -> None:
    ada = await sign_up(client)
    expired = await sign_in(client, ada.email, PASSWORD, ada.user)
    await refreshed(expired)
    await run("UPDATE sessions SET expires_at = now() WHERE id = (SELECT max(id) FROM sessions)")
    ended = await sign_in(client, ada.email, PASSWORD, ada.user)
    assert (await ended.post("/auth/logout")).status_code == 204

    # Two sessions, one with two tokens and one with one.
    assert (await cleaned()).rows == NOTHING | {"sessions": 5}
    assert await run("SELECT count(*) FROM sessions WHERE user_id = $1", ada.id) == 1
    assert await run("SELECT count(*) FROM refresh_tokens WHERE user_id = $1", ada.id) == 1
    for gone in (expired, ended):
        assert (await gone.get("/users/me")).status_code == 401
        assert (await refreshed(gone)).status_code == 401
    assert (await ada.get("/users/me")).status_code == 200
    assert (await cleaned()).rows == NOTHING


async def test_a_used_token_stays_as_long_as_its_session(
    client: httpx.AsyncClient, run: Run
) -> None:
    """Or its second use couldn't be told from nonsense, and the thief would stay signed in."""
    ada = await sign_up(client)
    stolen = ada.refresh_token
    await refreshed(ada)
    await run("UPDATE refresh_tokens SET expires_at = now() WHERE used_at IS NOT NULL")
    assert (await cleaned()).rows == NOTHING
    again = await client.post("/api/v1/auth/refresh", json={"refresh_token": stolen})
    assert again.status_code == 401
    assert (await ada.get("/users/me")).status_code == 401
    assert (await cleaned()).rows == NOTHING | {"sessions": 3}


async def test_a_session_that_somebody_holds_is_left_for_the_next_time(
    client: httpx.AsyncClient, run: Run, database_uri: str
) -> None:
    ada = await sign_up(client)
    await ada.post("/auth/logout")
    async with connected(database_uri) as other, other.transaction():
        await other.execute("SELECT FROM sessions WHERE user_id = $1 FOR UPDATE", ada.id)
        assert (await cleaned()).rows == NOTHING
    async with connected(database_uri) as other, other.transaction():
        await other.execute("SELECT FROM refresh_tokens WHERE user_id = $1 FOR UPDATE", ada.id)
        assert (await cleaned()).rows == NOTHING
    assert (await cleaned()).rows == NOTHING | {"sessions": 2}


async def test_an_idempotency_key_goes_when_it_is_in_force_no_more(
    client: httpx.AsyncClient, run: Run
) -> None:
    ada = await sign_up(client)
    once = {"Idempotency-Key": "expires"}
    first = await ada.request("POST", "/projects", json=new_project(), headers=once)
    assert (await cleaned()).rows == NOTHING
    again = await ada.request("POST", "/projects", json=new_project(), headers=once)
    assert again.json() == first.json()

    await run("UPDATE idempotency_keys SET created_at = created_at - interval '24 hours'")
    assert (await cleaned()).rows == NOTHING | {"idempotency keys": 1}
    later = await ada.request("POST", "/projects", json=new_project(), headers=once)
    assert later.json()["id"] != first.json()["id"]


async def test_an_account_is_erased_when_its_time_is_over(
    client: httpx.AsyncClient, run: Run, database_uri: str
) -> None:
    admin = await sign_up_admin(client, database_uri)
    skill = (await admin.post("/skills", {"name": "Erasing"})).json()["id"]
    leo = await sign_up(client, "freelancer", email="Leo@Example.com", name="Leo Leaver")
    profile = {"headline": "h", "bio": "b", "hourly_rate": 9, "country": "DE"}
    assert (await leo.patch("/users/me", profile)).status_code == 200
    skills = await leo.request("PUT", "/users/me/skills", json=[{"skill_id": skill, "level": 3}])
    await leave(leo, run, days=29)
    assert (await cleaned()).rows["accounts"] == 0
    kept = (await admin.get(f"/users/{leo.id}")).json()
    assert (kept["name"], kept["email"]) == ("Leo Leaver", "Leo@Example.com")
    assert (
        await client.post("/api/v1/auth/register", json=new_account(email="leo@example.com"))
    ).status_code == 409

    await run("UPDATE users SET deactivated_at = now() - interval '31 days' WHERE id = $1", leo.id)
    assert (await cleaned()).rows["accounts"] == 1
    left = (await admin.get(f"/users/{leo.id}")).json()
    assert left["version"] == kept["version"] + 1 == skills.json()["version"] + 2
    assert left["updated_at"] > kept["updated_at"]
    emptied = dict.fromkeys(("email", "hourly_rate", "country")) | {
        "name": "Erased user", "headline": "", "bio": "", "skills": [], "is_active": False
    }  # fmt: skip
    assert left == kept | emptied | {key: left[key] for key in ("version", "updated_at")}
    assert (await client.get(f"/api/v1/users/{leo.id}")).status_code == 404
    for table in ("credentials", "sessions", "refresh_tokens", "user_skills"):
        assert await run(f"SELECT count(*) FROM {table} WHERE user_id = $1", leo.id) == 0
    login = {"email": "leo@example.com", "password": PASSWORD}
    assert (await client.post("/api/v1/auth/login", json=login)).status_code == 401

    # The address is free, and who takes it is somebody else.
    again = await sign_up(client, "client", email="leo@example.com")
    assert again.id != leo.id
    assert (await cleaned()).rows["accounts"] == 0
    assert (await admin.get(f"/users/{leo.id}")).json() == left


async def test_nothing_personal_is_left_of_an_erased_account(
    client: httpx.AsyncClient, run: Run, database_uri: str
) -> None:
    """In no column of any table, but in what was published or agreed on."""
    word = "Xylophonist"
    leo = await sign_up(client, "freelancer", email=f"{word}@example.com", name=word)
    await leo.patch("/users/me", {"headline": word, "bio": word})
    ada = await sign_up(client)
    await submit_proposal(leo, (await post_project(ada))["id"], cover_letter=word)
    mia = await sign_up(client, "client", name=word)
    await post_project(mia, status="draft", title=word, description=word)
    await leave(leo, run)
    await leave(mia, run)
    await cleaned()
    async with connected(database_uri) as connection:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace"
        )
        for (table,) in tables:
            rows = await connection.fetch(f"SELECT t::text FROM {table} t")
            assert [row for row in rows if word.lower() in row[0].lower()] == [], table


async def test_what_others_rely_on_stays_of_an_erased_client(
    client: httpx.AsyncClient, run: Run
) -> None:
    """Drafts, which nobody else has seen, go; open projects, which nobody can decide, end."""
    ada = await sign_up(client)
    leo = await sign_up(client, "freelancer")
    draft = await post_project(ada, status="draft")
    project = await post_project(ada)
    waiting = await submit_proposal(leo, project["id"])
    hired = await post_project(ada)
    accepted = await submit_proposal(leo, hired["id"])
    await ada.post(f"/proposals/{accepted['id']}/accept")
    hired = (await leo.get(f"/projects/{hired['id']}")).json()
    await leave(ada, run)
    assert (await cleaned()).rows["accounts"] == 4

    assert await run("SELECT count(*) FROM projects WHERE id = $1", draft["id"]) == 0
    ended = (await leo.get(f"/projects/{project['id']}")).json()
    assert (ended["status"], ended["client_name"]) == ("cancelled", "Erased user")
    fields = "client_name,status,proposal_count,lowest_bid,version"
    left = (await leo.get(f"/projects/{hired['id']}?fields={fields}")).json()
    assert left == {key: hired[key] for key in left} | {
        "client_name": "Erased user",
        "version": hired["version"] + 1,
    }
    assert (await leo.get(f"/proposals/{waiting['id']}")).json() == waiting
    assert (await leo.get(f"/proposals/{accepted['id']}")).json()["status"] == "accepted"
    assert (await leo.get(f"/users/{ada.id}")).status_code == 404


async def test_what_others_rely_on_stays_of_an_erased_freelancer(
    client: httpx.AsyncClient, run: Run
) -> None:
    """Clients see that there was a bid, and whoever hired keeps what was agreed on."""
    ada = await sign_up(client)
    leo = await sign_up(client, "freelancer")
    projects = [await post_project(ada) for _ in range(3)]
    pending, rejected, accepted = [await submit_proposal(leo, each["id"]) for each in projects]
    await ada.post(f"/proposals/{rejected['id']}/reject")
    hired = (await ada.post(f"/proposals/{accepted['id']}/accept")).json()
    await leave(leo, run)
    assert (await cleaned()).rows["accounts"] == 3

    after = [(await ada.get(f"/proposals/{each['id']}")).json() for each in (pending, rejected)]
    assert [(each["status"], each["cover_letter"]) for each in after] == [
        ("withdrawn", ""),
        ("rejected", ""),
    ]
    assert [each["version"] for each in after] == [2, 3]
    assert (await ada.get(f"/proposals/{accepted['id']}")).json() == hired
    decided = await ada.post(f"/proposals/{pending['id']}/accept")
    assert decided.status_code == 409


async def test_each_transaction_deals_with_few_rows(
    client: httpx.AsyncClient, run: Run, statements: Statements
) -> None:
    """Twelve times as many rows take twelve transactions, of as many statements each."""
    ada = await sign_up(client)
    for _ in range(12):
        session = await sign_in(client, ada.email, PASSWORD, ada.user)
        await session.post("/auth/logout")
    with statements.recorded():
        assert (await cleaned(rows=1)).rows == NOTHING | {"sessions": 24}
    turns = [each for each in statements if "pg_try_advisory_xact_lock" in each]
    assert len(turns) == 12 + len(NOTHING)  # and a look a chore that finds nothing more
    assert len(statements) == 5 * 12 + 2 * len(NOTHING)


async def test_an_account_with_much_to_its_name_is_erased_in_turns(
    client: httpx.AsyncClient, run: Run, statements: Statements
) -> None:
    """And not marked as erased before the last."""
    ada = await sign_up(client)
    for _ in range(5):
        await post_project(ada, status="draft")
    await leave(ada, run)
    stop = asyncio.Event()

    async def one_turn(tx: AsyncConnection, rows: int) -> int:
        stop.set()
        return await housekeeping.erase_accounts(tx, rows)

    await clean(engine.current(), {"one": one_turn}, rows=2, pause=0, stopping=stop)
    assert await run("SELECT count(*) FROM projects WHERE client_id = $1", ada.id) == 3
    assert await run("SELECT erased_at FROM users WHERE id = $1", ada.id) is None
    await cleaned(rows=2)
    assert await run("SELECT count(*) FROM projects WHERE client_id = $1", ada.id) == 0
    assert await run("SELECT erased_at FROM users WHERE id = $1", ada.id) is not None


async def test_of_two_cleaners_one_works(
    client: httpx.AsyncClient, run: Run, database_uri: str
) -> None:
    ada = await sign_up(client)
    await ada.post("/auth/logout")
    async with connected(database_uri) as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
        away = await cleaned()
        assert (away.turned_away, sum(away.rows.values())) == (True, 0)
    assert (await cleaned()).rows == NOTHING | {"sessions": 2}


async def test_many_cleaners_at_once_deal_with_each_row_once(
    client: httpx.AsyncClient, run: Run
) -> None:
    people = [await sign_up(client) for _ in range(10)]
    for person in people:
        await leave(person, run)
    every = await asyncio.gather(*(cleaned(rows=1) for _ in range(5)))
    every.append(await cleaned())
    sums = {name: sum(each.rows[name] for each in every) for name in NOTHING}
    assert sums == NOTHING | {"sessions": 20, "accounts": 10}
    versions = "SELECT array_agg(DISTINCT version) FROM users WHERE id = ANY($1)"
    assert await run(versions, [person.id for person in people]) == [3]


async def test_cleaning_waits_for_nobody_long(
    client: httpx.AsyncClient, run: Run, database_uri: str
) -> None:
    """What others hold is left, and the other chores are done."""
    leo = await sign_up(client, "freelancer")
    project = await post_project(await sign_up(client))
    await submit_proposal(leo, project["id"])
    await leave(leo, run)
    async with connected(database_uri) as other, other.transaction():
        await other.execute("SELECT FROM projects WHERE id = $1 FOR UPDATE", project["id"])
        done = await cleaned()
    assert done.postponed == ["accounts"]
    assert done.rows["sessions"] == 2
    assert (await cleaned()).rows["accounts"] == 2


async def test_what_is_over_is_found_by_an_index(
    client: httpx.AsyncClient, statements: Statements, database_uri: str
) -> None:
    with statements.recorded():
        await cleaned()
    async with connected(database_uri) as connection:
        await connection.execute("SET enable_seqscan = off")
        for table, index in (
            ("idempotency_keys", "idx_idempotency_keys_created"),
            ("sessions", "idx_sessions_over"),
            ("users", "idx_users_erasable"),
        ):
            query = next(each for each in statements if f"FROM {table}" in each)
            given = re.sub(r"\$\d+::INTERVAL", "'1 day'::interval", query)
            given = re.sub(r"\$\d+::INTEGER", "10", given)
            lines = await connection.fetch(f"EXPLAIN {given}")
            assert any(index in line[0] for line in lines)
            assert not any("Sort" in line[0] for line in lines)
