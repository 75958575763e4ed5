"""Migrations arrive at what the code declares, once, however often and by how many they are run."""

import asyncio
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection, Index, Table, UniqueConstraint
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import mercenary.auth.tables
import mercenary.cdn.tables
import mercenary.db.idempotency
import mercenary.db.outbox
import mercenary.projects.tables
import mercenary.proposals.tables
import mercenary.skills.tables
import mercenary.stats.tables
import mercenary.users.tables  # noqa: F401 - each import adds its tables to the metadata
from mercenary.db.metadata import metadata, views
from mercenary.db.migrate import LOCK_KEY, MigrationError, pending, upgrade
from mercenary.db.uri import asyncpg_url
from tests.db.conftest import connected

TABLES = sorted(metadata.tables.values(), key=lambda table: table.name)
VIEWS = sorted(views.tables.values(), key=lambda view: view.name)

# Whatever the server knows of a schema, in the server's own words.
CATALOG = {
    "columns": """
        SELECT c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod),
               a.attnum, a.attnotnull, a.attgenerated, pg_get_expr(d.adbin, d.adrelid),
               col_description(c.oid, a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'm')
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    """,
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "tables": """
        SELECT relname, obj_description(oid, 'pg_class'), reloptions FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    """,
    "views": """
        SELECT matviewname, definition, obj_description(matviewname::regclass, 'pg_class')
        FROM pg_matviews WHERE schemaname = 'public'
    """,
    "sequences": """
        SELECT sequencename, data_type::text, start_value, increment_by, max_value, cycle
        FROM pg_sequences WHERE schemaname = 'public'
    """,
}


async def _catalog(connection: asyncpg.Connection, kind: str) -> list[tuple[Any, ...]]:
    rows = [tuple(row) for row in await connection.fetch(CATALOG[kind])]
    return sorted((row for row in rows if "alembic_version" not in str(row)), key=repr)


async def test_the_migrated_schema_is_the_declared_one(migrated_uri: str) -> None:
    """Alembic finds nothing to add, change or remove."""

    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    engine = create_async_engine(asyncpg_url(migrated_uri), poolclass=NullPool)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


@pytest.mark.parametrize("kind", CATALOG)
async def test_the_server_describes_both_schemas_alike(
    kind: str, empty_uri: str, migrated: asyncpg.Connection
) -> None:
    """What Alembic doesn't compare: checks, generated columns, index methods, comments."""
    async with connected(empty_uri) as declared:
        await declared.execute("CREATE EXTENSION pg_trgm")
        engine = create_async_engine(asyncpg_url(empty_uri), poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        await engine.dispose()
        assert await _catalog(declared, kind) == await _catalog(migrated, kind)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
async def test_a_view_has_the_columns_that_are_read_of_it(
    view: Table, migrated: asyncpg.Connection
) -> None:
    query = """
        SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum
    """
    columns = [(column.name, str(column.type).lower()) for column in view.columns]
    assert [tuple(row) for row in await migrated.fetch(query, view.name)] == columns


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_view_can_be_refreshed_beside_its_readers(view: Table) -> None:
    """PostgreSQL wants a unique index of whole columns for that, and of all rows."""
    unique = [index for index in view.indexes if index.unique]
    assert any(
        all(isinstance(each, Column) for each in index.expressions)
        and index.dialect_options["postgresql"]["where"] is None
        for index in unique
    )


async def test_every_index_says_in_the_database_what_it_serves(
    migrated: asyncpg.Connection,
) -> None:
    """A reader of `\\di+` learns which query would miss it."""
    rows = await migrated.fetch(
        "SELECT relname, obj_description(oid, 'pg_class') FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'i'"
    )
    found = {row["relname"]: row["obj_description"] for row in rows}
    declared = {
        index.name: index.info["serves"] for each in TABLES + VIEWS for index in each.indexes
    }
    assert declared == {name: found[name] for name in declared}


async def test_a_second_upgrade_does_nothing(empty_uri: str) -> None:
    """The first applies what is pending, and then nothing is."""
    waiting = await pending(empty_uri)
    assert waiting
    assert await upgrade(empty_uri) == waiting
    assert await upgrade(empty_uri) == []
    assert await pending(empty_uri) == []


async def test_of_upgrades_at_once_one_migrates(empty_uri: str) -> None:
    """The others wait for it and find nothing left to do."""
    waiting = await pending(empty_uri)
    applied = await asyncio.gather(*(upgrade(empty_uri) for _ in range(4)))
    assert sorted(applied) == [[], [], [], waiting]


async def test_waiting_for_another_migration_has_an_end(migrated_uri: str) -> None:
    """Whoever waits too long is told so."""
    async with connected(migrated_uri) as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
        with pytest.raises(MigrationError, match="Another process"):
            await upgrade(migrated_uri, lock_wait=0.05)


async def test_a_schema_from_the_future_is_left_alone(migrated_uri: str) -> None:
    """An older program doesn't touch what a newer one made."""
    async with connected(migrated_uri) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(MigrationError, match="9999"):
        await upgrade(migrated_uri)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("postgresql://nobody@127.0.0.1:1/nothing", "can't be reached"),
        ("postgresql://nobody@/nothing?host=/nonexistent", "can't be reached"),
        ("mysql://nobody@localhost/nothing", "can't be used"),
        ("nonsense", "can't be used"),
    ],
)
async def test_a_useless_uri_is_one_clear_line(uri: str, reason: str) -> None:
    """What is wrong, without a traceback's words."""
    with pytest.raises(MigrationError, match=reason) as raised:
        await pending(uri)
    assert "\n" not in str(raised.value)


async def test_a_role_that_may_not_create_is_told_what_to_grant(empty_uri: str) -> None:
    """A foreign server's role often owns nothing."""
    async with connected(empty_uri) as owner:
        await owner.execute("DROP ROLE IF EXISTS mercenary_reader")
        await owner.execute("CREATE ROLE mercenary_reader LOGIN")
        user = await owner.fetchval("SELECT current_user")
    with pytest.raises(MigrationError, match="grant it CREATE"):
        await upgrade(empty_uri.replace(f"{user}@", "mercenary_reader@", 1))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_unique_key_holds_the_distribution_column(table: Table) -> None:
    """Citus can't enforce a key that spans shards; a reference table is whole on each.

    An index that says that it crosses them is unique on one server, and made anew on a cluster.
    """
    column = table.info["distributed_by"]
    if column is None:
        return
    unique: list[UniqueConstraint | Index] = [
        each for each in table.constraints if isinstance(each, UniqueConstraint)
    ]
    unique += [
        index for index in table.indexes if index.unique and not index.info.get("crosses_shards")
    ]
    keys = [set(each.columns.keys()) for each in (table.primary_key, *unique)]
    assert [key for key in keys if column not in key] == []


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_foreign_keys_stay_on_a_shard_or_say_that_they_cross(table: Table) -> None:
    """Distribution column to distribution column, or to a reference table, or declared CROSSING."""
    for key in table.foreign_key_constraints:
        target = key.referred_table.info["distributed_by"]
        pairs = {(element.parent.name, element.column.name) for element in key.elements}
        stays = target is None or (table.info["distributed_by"], target) in pairs
        crosses = any(element.info.get("crosses_shards") for element in key.elements)
        assert stays != crosses, key.name


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_times_have_a_zone_and_ids_no_default(table: Table) -> None:
    """Ids are drawn in blocks beforehand, and a time without a zone is no time."""
    for column in table.columns:
        assert getattr(column.type, "timezone", True), column
        if column.name == "id":
            assert column.server_default is None
            assert column.identity is None
