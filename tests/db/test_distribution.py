"""`mercenary db distribute` puts its statements in an order that Citus takes, and finishes them.

Citus can't be installed where these tests run. What is asked of it stands in for it here
(`stand_in.sql`): functions and catalogs of the same names that refuse what Citus refuses, on a real
PostgreSQL. They prove order, resumption and counts; that Citus itself takes the statements is tried
on a cluster (`deploy/citus/`).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

import mercenary.cli.db.distribute  # noqa: F401 - declares every table
from mercenary import settings
from mercenary.cli import main
from mercenary.db.distribution import (
    DistributionError,
    Done,
    Spread,
    State,
    crosses,
    distribute,
    look,
    plan,
    steps,
)
from mercenary.db.engine import Database
from mercenary.db.metadata import CROSSING, metadata
from mercenary.db.migrate import LOCK_KEY
from mercenary.db.topology import is_sharded
from mercenary.db.uri import asyncpg_url
from tests.db.conftest import connected

STAND_IN = Path(__file__).with_name("stand_in.sql").read_text(encoding="utf-8")
TABLES = metadata.sorted_tables
KEYS = [key for table in TABLES for key in table.foreign_key_constraints]
ROWS = """
    INSERT INTO skills (id, name) VALUES (1, 'python'), (2, 'sql');
    INSERT INTO users (id, role, email, name) VALUES (1, 'freelancer', 'ada@example.com', 'Ada');
    INSERT INTO user_skills VALUES (1, 1, 3), (1, 2, 4);
    INSERT INTO outbox (id, key, stamp, version, name, subject, tags)
        VALUES (1, 1, 1, 1, 'user.updated', 'user:1', 'user:1');
"""


@pytest.fixture
async def cluster(migrated_uri: str) -> AsyncIterator[asyncpg.Connection]:
    """A migrated database with some rows, on what stands in for a coordinator."""
    async with connected(migrated_uri) as connection:
        await connection.execute(STAND_IN)
        await connection.execute(ROWS)
        yield connection


@pytest.fixture
async def db(migrated_uri: str) -> AsyncIterator[AsyncConnection]:
    """The connection that distributes."""
    engine = create_async_engine(asyncpg_url(migrated_uri), poolclass=NullPool)
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


async def distributed(db: AsyncConnection) -> list[Done]:
    return await distribute(db, metadata, tell=lambda _: None)


def test_nothing_is_removed_that_isn_t_ours() -> None:
    """Nor a partition by itself, which its table's rows are removed with."""
    spread = {table.name: Spread(table.info["distributed_by"]) for table in TABLES}
    state = State(spread, frozenset(), left=frozenset({"sessions", "sessions_default", "others"}))
    removing = [step.sql for step in steps(metadata, state) if "truncate" in step.sql]
    assert removing == ["SELECT truncate_local_data_after_distributing_table('sessions')"]


async def test_an_index_that_cannot_be_unique_any_more_is_made_anew(db: AsyncConnection) -> None:
    taken = [step.sql for step in steps(metadata, State({}, frozenset()))]
    made = "CREATE INDEX IF NOT EXISTS idx_users_email ON users (lower(email))"
    place = taken.index(made)
    assert taken[place - 1] == "DROP INDEX IF EXISTS idx_users_email"
    spread = next(n for n, sql in enumerate(taken) if "create_distributed_table('users'" in sql)
    assert place < spread
    for statement in (*taken[place - 1 : place + 1], *taken[place - 1 : place + 1]):
        await db.exec_driver_sql(statement)


def test_a_foreign_key_is_declared_as_crossing_if_and_only_if_it_does() -> None:
    declared = {key.name for key in KEYS if any(each.info == CROSSING for each in key.elements)}
    assert declared == {key.name for key in KEYS if crosses(key)}


async def test_every_table_of_the_schema_is_spread(migrated: asyncpg.Connection) -> None:
    names = await migrated.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
        "AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'"
    )
    found = steps(metadata, State({}, frozenset()))
    assert {step.table for step in found if step.moves} == {row["relname"] for row in names}


async def test_all_of_it_is_distributed_with_its_rows(
    cluster: asyncpg.Connection, db: AsyncConnection
) -> None:
    done = await distributed(db)
    rows = {each.table: each.rows for each in done if each.rows is not None}
    assert {name: rows[name] for name in ("skills", "users", "user_skills", "outbox")} == {
        "skills": 2,
        "users": 1,
        "user_skills": 2,
        "outbox": 1,
    }
    assert (await look(db)).spread == {
        table.name: Spread(table.info["distributed_by"]) for table in TABLES
    }
    kept = await cluster.fetch("SELECT conname FROM pg_constraint WHERE contype = 'f'")
    assert {row["conname"] for row in kept} == {key.name for key in KEYS if not crosses(key)}


async def test_tables_by_columns_of_one_type_lie_together(
    cluster: asyncpg.Connection, db: AsyncConnection
) -> None:
    """An event is then on the server of what it is about, and becomes visible with it."""
    await distributed(db)
    groups = await cluster.fetch(
        "SELECT coalesce(leader, logicalrelid)::text AS leader, logicalrelid::text AS name "
        "FROM pg_dist_partition WHERE kind = 'distributed'"
    )
    together: dict[str, set[str]] = {}
    for row in groups:
        together.setdefault(row["leader"], set()).add(row["name"])
    assert {"credentials", "cdn_purges"} in together.values()
    assert len(together) == 2


async def test_a_second_run_finds_nothing_to_do(
    cluster: asyncpg.Connection, db: AsyncConnection
) -> None:
    await distributed(db)
    assert await distributed(db) == []


@pytest.mark.parametrize("name", [table.name for table in TABLES])
async def test_a_run_that_fails_anywhere_is_finished_by_the_next(
    name: str, cluster: asyncpg.Connection, db: AsyncConnection
) -> None:
    await cluster.execute("INSERT INTO accidents VALUES ($1, 'fails')", name)
    with pytest.raises(DistributionError, match=f"'{name}'.*remote node two:5432 failed"):
        await distributed(db)
    await cluster.execute("DELETE FROM accidents")
    again = await distributed(db)
    assert name in {each.table for each in again if each.rows is not None}
    for table in TABLES:  # what the first run had moved lay on the coordinator, too
        assert await cluster.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert (await plan(db, metadata)) == []
    kept = await cluster.fetch("SELECT conname FROM pg_constraint WHERE contype = 'f'")
    assert {row["conname"] for row in kept} == {key.name for key in KEYS if not crosses(key)}


async def test_a_table_that_loses_rows_is_left_as_it_was(
    cluster: asyncpg.Connection, db: AsyncConnection
) -> None:
    await cluster.execute("INSERT INTO accidents VALUES ('users', 'loses')")
    with pytest.raises(DistributionError, match="users had 1 rows, and 0 once"):
        await distributed(db)
    assert await cluster.fetchval("SELECT count(*) FROM users") == 1
    assert "users" not in (await look(db)).spread


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP FUNCTION citus_version", "has no Citus.*CREATE EXTENSION citus"),
        ("UPDATE pg_dist_local_group SET groupid = 3", "is a worker"),
        ("DELETE FROM pg_dist_node WHERE groupid > 0", "no worker.*citus_add_node"),
        ("UPDATE pg_dist_node SET isactive = false", "no worker.*citus_add_node"),
        ("INSERT INTO pg_dist_partition VALUES ('users', 'distributed', 'email')",
         r"users is distributed by email.*undistribute_table\('users'\)"),
        ("INSERT INTO pg_dist_partition VALUES ('projects', 'reference', NULL)",
         "projects is distributed by no column, and not by id"),
        ("CREATE TABLE in_parts (id bigint) PARTITION BY HASH (id)",
         "in_parts is in partitions by hash.*migrated without partitions"),
    ],
)  # fmt: skip
async def test_what_is_in_the_way_is_told_before_anything_is_done(
    change: str, said: str, cluster: asyncpg.Connection, db: AsyncConnection
) -> None:
    await cluster.execute(change)
    with pytest.raises(DistributionError, match=said):
        await distributed(db)
    keys = await cluster.fetchval("SELECT count(*) FROM pg_constraint WHERE contype = 'f'")
    assert keys == len(KEYS)


async def test_an_extension_that_is_older_than_the_cluster_is_made_on_its_servers(
    cluster: asyncpg.Connection, db: AsyncConnection
) -> None:
    """Citus propagates what is made after itself, and nothing that was there before."""
    first = (await plan(db, metadata))[0]
    assert first.sql == "CREATE EXTENSION IF NOT EXISTS pg_trgm"
    await db.rollback()
    await cluster.execute(first.sql)
    assert not [step for step in await plan(db, metadata) if "EXTENSION" in step.sql]


async def test_nobody_distributes_while_somebody_migrates(
    cluster: asyncpg.Connection, db: AsyncConnection
) -> None:
    await cluster.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
    with pytest.raises(DistributionError, match="Somebody migrates or distributes"):
        await distributed(db)
    await cluster.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)
    assert await distributed(db)


async def test_the_command_prints_its_statements_or_runs_them(
    cluster: asyncpg.Connection, db: AsyncConnection, migrated_uri: str
) -> None:
    """A dry run changes nothing, and says what the real one does, in the same order."""

    async def call(*arguments: str) -> str:
        result = await asyncio.to_thread(
            CliRunner().invoke,
            main,
            ["db", "distribute", *arguments],
            env={"SQLALCHEMY_DATABASE_URI": migrated_uri},
        )
        assert result.exit_code == 0, result.output
        return result.output

    planned = await call("--dry-run")
    as_json = json.loads(await call("--dry-run", "--json"))
    assert planned.splitlines() == [f"{step['sql']};" for step in as_json]
    assert len(await plan(db, metadata)) == len(as_json)
    await db.rollback()
    said = (await call()).splitlines()
    assert [line.partition("  --")[0] for line in said[:-1]] == planned.splitlines()
    assert said[-1] == "Distributed. Start whatever uses the database anew."
    assert await call() == "Everything is distributed.\n"


async def test_a_distributed_database_is_known_by_the_first_connection(
    cluster: asyncpg.Connection, db: AsyncConnection, migrated_uri: str
) -> None:
    async def asked() -> bool:
        database = Database(settings.get(), migrated_uri)
        async with database.reading() as connection:
            found = is_sharded(connection)
        await database.close()
        return found

    assert not await asked()
    await distributed(db)
    assert await asked()
