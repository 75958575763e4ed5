"""`mercenary db check`: rows that say something else than what they repeat are found."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from mercenary import settings
from mercenary.cli import main
from mercenary.db.invariants import INVARIANTS, Checked, check
from mercenary.db.uri import asyncpg_url
from mercenary.seeding.seed import seed
from tests.db.conftest import connected

# Each spoils some projects, whose ids it returns; and how the check puts it.
SPOILED = {
    "a count": ("proposal_count = proposal_count + 1", "project_tallies", 3),
    "a lowest bid": ("lowest_bid = lowest_bid + 0.01", "project_tallies", 3),
    "a bid that isn't there": ("proposal_count = 1, lowest_bid = 5", "project_tallies", 3),
    "a name": ("client_name = 'Somebody else'", "project_client_names", 3),
    "an erased name": ("client_name = 'Erased user'", "project_client_names", 3),
}


async def call(uri: str, *arguments: str) -> Result:
    """Call the command in a thread, for it runs a loop of its own."""
    environment = {"SQLALCHEMY_DATABASE_URI": uri}
    return await asyncio.to_thread(
        CliRunner().invoke, main, ("db", "check", *arguments), env=environment
    )


@pytest.fixture
async def seeded(migrated_uri: str) -> str:
    await seed(migrated_uri, settings.get(), projects=900, seed=5, with_demo=True)
    return migrated_uri


async def checked(uri: str, name: str, **options: int) -> Checked:
    engine = create_async_engine(asyncpg_url(uri), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            invariant = next(each for each in INVARIANTS if each.name == name)
            return await check(connection, invariant, **options)
    finally:
        await engine.dispose()


async def test_an_empty_database_and_a_seeded_one_pass(migrated_uri: str) -> None:
    assert (await call(migrated_uri)).exit_code == 0
    await seed(migrated_uri, settings.get(), projects=900, seed=5, with_demo=True)
    passed = await call(migrated_uri, "--json")
    assert passed.exit_code == 0
    assert {each["name"]: each["violations"] for each in json.loads(passed.output)} == {
        invariant.name: 0 for invariant in INVARIANTS
    }
    async with connected(migrated_uri) as database:  # and there was something to check
        told = "SELECT count(*) FILTER (WHERE proposal_count > 0), count(lowest_bid) FROM projects"
        counted, priced = await database.fetchrow(told)
        assert counted == priced > 600


async def test_each_wrong_row_is_found_and_told(seeded: str) -> None:
    """Whatever is wrong about it; every one is counted, in whichever range of ids it stands."""
    for spoil, name, count in SPOILED.values():
        async with connected(seeded) as database:
            ids = await _spoil(database, spoil, count)
        found = await checked(seeded, name, at_once=100, sample=2)
        assert (found.violations, len(found.sample)) == (count, 2), spoil
        assert [each.subject for each in found.sample] == [f"project:{id}" for id in ids[:2]]
        assert all(each.stored != each.true for each in found.sample)
        told = await call(seeded)
        assert told.exit_code == 1
        assert f"project:{ids[0]}" in told.output
        async with connected(seeded) as database:
            await database.execute(
                "UPDATE projects SET (proposal_count, lowest_bid, client_name)"
                " = (SELECT proposal_count, lowest_bid, client_name FROM whole"
                " WHERE whole.id = projects.id) WHERE id = ANY($1)",
                ids,
            )
            await database.execute("DROP TABLE whole")
    assert (await call(seeded)).exit_code == 0


async def test_a_name_on_many_projects_is_told_once_with_their_number(seeded: str) -> None:
    async with connected(seeded) as database:
        client, posted = await database.fetchrow(
            "SELECT client_id, count(*) FROM projects GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
        )
        await database.execute("UPDATE users SET name = 'New' WHERE id = $1", client)
    found = await checked(seeded, "project_client_names")
    assert found.violations == 1
    assert found.sample[0].subject.endswith(f" and {posted - 1} more")
    assert found.sample[0].true == "New"


async def test_what_no_foreign_key_holds_on_a_cluster_is_checked(seeded: str) -> None:
    """A row that names nobody, and an address that its user hasn't claimed."""
    async with connected(seeded) as database:
        for table, column in (("credentials", "user"), ("projects", "client"),
                              ("proposals", "freelancer")):  # fmt: skip
            name = f"fk_{table}_{column}_id"
            await database.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        nobody = 1 + await database.fetchval("SELECT max(id) FROM users")
        project = await database.fetchval("SELECT max(id) FROM projects")
        proposal = await database.fetchval("SELECT max(id) FROM proposals")
        user = await database.fetchval("SELECT max(user_id) FROM credentials")
        for spoil, key in (
            ("projects SET client_id = $1 WHERE id = $2", project),
            ("proposals SET freelancer_id = $1 WHERE id = $2", proposal),
            ("credentials SET user_id = $1 WHERE user_id = $2", user),
        ):
            await database.execute(f"UPDATE {spoil}", nobody, key)
    found = {each.name: await checked(seeded, each.name) for each in INVARIANTS}
    told = {
        name: [(row.subject, row.true) for row in each.sample]
        for name, each in found.items()
        if each.violations
    }
    assert told == {
        "project_client_names": [(f"project:{project}", "nobody")],
        "proposal_freelancers": [(f"proposal:{proposal}", "nobody")],
        "credential_users": [(f"user:{nobody}", "nobody")],
        "user_addresses": [(f"user:{user}", "has claimed none")],
    }


async def _spoil(database: asyncpg.Connection, change: str, count: int) -> list[int]:
    """Spoil projects of different clients; the table `whole` has them as they were."""
    without_bids = "= 1, lowest" in change
    rows: list[Any] = await database.fetch(
        "SELECT min(id) AS id FROM projects"
        f" WHERE (proposal_count = 0) = {without_bids} AND client_name <> 'Erased user'"
        " GROUP BY client_id ORDER BY 1 DESC LIMIT $1",
        count,
    )
    ids = sorted(row["id"] for row in rows)
    await database.execute("CREATE TABLE whole AS SELECT * FROM projects")
    await database.execute(f"UPDATE projects SET {change} WHERE id = ANY($1)", ids)
    return ids
