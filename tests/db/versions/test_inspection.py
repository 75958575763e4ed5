"""`mercenary db …` against a real server in the state that each command is there to find."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import make_url

from mercenary.cli import main
from tests.db.conftest import connected

PATIENCE = 10.0


async def call(uri: str, *arguments: str) -> Result:
    """Call a command in a thread, for it runs a loop of its own."""
    environment = {"SQLALCHEMY_DATABASE_URI": uri}
    return await asyncio.to_thread(CliRunner().invoke, main, ("db", *arguments), env=environment)


async def answer(uri: str, *arguments: str, exit_code: int = 0) -> Any:
    """What a command answers as JSON."""
    result = await call(uri, *arguments, "--json")
    assert result.exit_code == exit_code, result.output
    return json.loads(result.output)


@asynccontextmanager
async def queue_for_a_lock(uri: str) -> AsyncIterator[list[int]]:
    """One session holds a table, a second waits for it, a third behind the second: their pids."""
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(connected(uri)) for _ in range(3)]
        pids = [session.get_server_pid() for session in sessions]
        holder, *others = sessions
        await holder.execute("BEGIN")
        await holder.execute("LOCK TABLE skills IN ACCESS EXCLUSIVE MODE")
        waiting = []
        for number, session in enumerate(others, start=1):
            await session.execute("BEGIN")
            waiting.append(asyncio.create_task(session.execute("LOCK TABLE skills")))
            await _until_waiting(uri, number)
        yield pids
        await holder.execute("ROLLBACK")
        for session, task in zip(others, waiting, strict=True):
            await task
            await session.execute("ROLLBACK")


async def _until_waiting(uri: str, count: int) -> None:
    query = """
        SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()
    """
    async with connected(uri) as connection, asyncio.timeout(PATIENCE):
        while await connection.fetchval(query) < count:  # noqa: ASYNC110 - another process has it
            await asyncio.sleep(0.01)


async def test_each_command_answers_people_and_programs(migrated_uri: str) -> None:
    """On a database in which nothing is wrong."""
    for name in (
        "stats",
        "locks",
        "long",
        "indexes",
        "vacuum",
        "bloat",
        "sizes",
        "pool",
        "replicas",
    ):
        told = await call(migrated_uri, name)
        assert told.exit_code == 0, told.output
        assert told.output.strip()
        json.loads((await call(migrated_uri, name, "--json")).output)


async def test_a_database_that_is_away_is_said_in_one_line() -> None:
    result = await call("postgresql://nobody@127.0.0.1:1/nothing", "sizes")
    assert result.exit_code == 2
    assert result.output.startswith("mercenary: the database can't be asked: ")
    assert result.output.count("\\n") <= 1


async def test_sizes_add_up(migrated_uri: str, migrated: asyncpg.Connection) -> None:
    found = await answer(migrated_uri, "sizes")
    tables = {each["name"]: each for each in found["tables"]}
    assert {"users", "projects", "proposals", "stats_skills"} <= set(tables)
    size = await migrated.fetchval("SELECT pg_total_relation_size('projects')")
    assert tables["projects"]["total_bytes"] == size
    assert sum(each["total_bytes"] for each in found["tables"]) < found["database_bytes"]


async def test_locks_show_who_is_waited_for_first(migrated_uri: str) -> None:
    async with queue_for_a_lock(migrated_uri) as (holder, second, third):
        answered = await answer(migrated_uri, "locks", exit_code=1)
        found = {each["pid"]: each for each in answered["sessions"]}
        told = (await call(migrated_uri, "locks")).output
    assert set(found) == {holder, second, third}
    assert found[holder]["blocked_by"] == []
    assert found[second]["blocked_by"] == [holder]
    assert set(found[third]["blocked_by"]) == {holder, second}
    assert found[second]["wants"] == "AccessExclusiveLock"
    assert found[second]["on"] == "skills"
    assert told.index(str(holder)) < told.index(str(second)) < told.index(f"{third}")
    assert (await answer(migrated_uri, "locks"))["sessions"] == []


async def test_locks_are_told_to_whom_postgresql_hides_what_others_do(
    migrated_uri: str, onlooker: str
) -> None:
    async with queue_for_a_lock(migrated_uri) as (holder, second, third):
        result = await call(onlooker, "locks")
    assert result.exit_code == 1
    for pid in (holder, second, third):
        assert str(pid) in result.output
    assert "GRANT pg_read_all_stats" in result.output


async def test_locks_and_long_say_how_to_end_it(migrated_uri: str) -> None:
    """Who works is cancelled; who only holds a transaction open is ended."""
    async with queue_for_a_lock(migrated_uri) as (holder, second, _):
        sessions = (await answer(migrated_uri, "locks", exit_code=1))["sessions"]
        found = (await answer(migrated_uri, "long", "--over", "0", exit_code=1))["transactions"]
        short = await answer(migrated_uri, "long", "--over", "0", "--limit", "1", exit_code=1)
    remedies = {each["pid"]: each["remedy"] for each in sessions}
    assert remedies[holder] == f"SELECT pg_terminate_backend({holder})"
    assert remedies[second] is None
    remedies = {each["pid"]: each["remedy"] for each in found}
    assert remedies[holder] == f"SELECT pg_terminate_backend({holder})"
    assert remedies[second] == f"SELECT pg_cancel_backend({second})"
    assert [each["pid"] for each in short["transactions"]] == [holder]


async def test_long_finds_a_transaction_that_was_left_open(migrated_uri: str) -> None:
    async with connected(migrated_uri) as idle:
        await idle.execute("BEGIN")
        await idle.execute("INSERT INTO skills (id, name) VALUES (1, 'waiting')")
        found = await answer(migrated_uri, "long", "--over", "0", exit_code=1)
        none = await answer(migrated_uri, "long", "--over", "3600")
        assert none["transactions"] == none["prepared"] == none["slots"] == []
        await idle.execute("ROLLBACK")
    (open_,) = found["transactions"]
    assert open_["state"] == "idle in transaction"
    assert open_["statement"].startswith("INSERT INTO skills")


async def _counted(connection: asyncpg.Connection) -> None:
    """Have PostgreSQL count what the connection has done, which it does once a second otherwise."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    await connection.execute("SELECT 1")


async def test_indexes_finds_each_fault_and_its_remedy(
    migrated_uri: str, migrated: asyncpg.Connection
) -> None:
    await migrated.execute("""
        CREATE TABLE parents (id bigint PRIMARY KEY);
        CREATE TABLE children (id bigint PRIMARY KEY, parent_id bigint REFERENCES parents, a int);
        CREATE INDEX idx_children_a ON children (a);
        CREATE INDEX idx_children_a_id ON children (a, id);
        CREATE INDEX idx_children_broken ON children (id, a);
        INSERT INTO children SELECT n, null, n FROM generate_series(1, 20000) n;
    """)
    await migrated.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_children_broken'::regclass"
    )
    await _counted(migrated)
    # Making the indexes has read the table, too.
    await migrated.execute("SELECT pg_stat_reset_single_table_counters('children'::regclass)")
    await migrated.fetchval("SELECT count(*) FROM children WHERE id + 0 = 7")
    await _counted(migrated)
    found = await answer(migrated_uri, "indexes")
    assert ("children", "children_parent_id_fkey") in {
        (each["table"], each["name"]) for each in found["foreign_keys"]
    }
    remedies = {each["table"]: each["remedy"] for each in found["foreign_keys"]}
    assert remedies["children"] == "CREATE INDEX CONCURRENTLY ON children (parent_id)"
    assert [(each["name"], each["covered_by"]) for each in found["duplicate"]] == [
        ("idx_children_a", "idx_children_a_id")
    ]
    assert "idx_children_a_id" in {each["name"] for each in found["unused"]}
    assert [each["remedy"] for each in found["invalid"]] == [
        "REINDEX INDEX CONCURRENTLY idx_children_broken"
    ]
    assert ("children", 20_000) in {(each["table"], each["rows"]) for each in found["read_whole"]}


async def test_the_product_has_no_index_that_another_can_stand_for(migrated_uri: str) -> None:
    found = await answer(migrated_uri, "indexes")
    assert found["duplicate"] == found["invalid"] == found["foreign_keys"] == []


async def test_vacuum_warns_where_dead_rows_pile_up(
    migrated_uri: str, migrated: asyncpg.Connection
) -> None:
    await migrated.execute("""
        CREATE TABLE churned (id int) WITH (autovacuum_enabled = false,
            autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0);
        INSERT INTO churned SELECT generate_series(1, 1000);
        DELETE FROM churned;
    """)
    await _counted(migrated)
    found = await answer(migrated_uri, "vacuum", exit_code=1)
    churned = next(each for each in found["tables"] if each["name"] == "churned")
    assert (churned["dead_rows"], churned["dead_rows_limit"]) == (1000, 100)
    assert churned["vacuumed_at"] is None
    await migrated.execute("VACUUM ANALYZE churned")
    found = await answer(migrated_uri, "vacuum")
    churned = next(each for each in found["tables"] if each["name"] == "churned")
    assert churned["dead_rows"] == 0
    assert churned["vacuumed_at"] is not None


@pytest.mark.parametrize("measured", [False, True])
async def test_bloat_finds_the_empty_half_of_a_table_and_its_index(
    migrated_uri: str, migrated: asyncpg.Connection, measured: bool
) -> None:
    await migrated.execute("""
        CREATE TABLE halved (id bigint PRIMARY KEY, words text NOT NULL);
        INSERT INTO halved SELECT n, repeat('x', 100) FROM generate_series(1, 50000) n;
        DELETE FROM halved WHERE id % 2 = 0;
    """)
    await migrated.execute("VACUUM (ANALYZE, TRUNCATE FALSE) halved")
    if measured:
        await migrated.execute("CREATE EXTENSION pgstattuple")
    found = await answer(migrated_uri, "bloat")
    assert found["measured"] is measured
    shares = {
        each["name"]: each["empty_bytes"] / each["bytes"]
        for each in found["found"]
        if each["bytes"]
    }
    assert 0.4 < shares["halved"] < 0.6
    assert 0.35 < shares["halved_pkey"] < 0.6


async def test_stats_know_a_statement_whatever_its_values(
    migrated_uri: str, migrated: asyncpg.Connection
) -> None:
    assert (await call(migrated_uri, "stats", "--reset")).exit_code == 0
    for number in range(7):
        await migrated.fetchval("SELECT count(*) AS of_this_test FROM skills WHERE id > $1", number)
    found = await answer(migrated_uri, "stats", "--by", "calls", "--limit", "1000")
    (ours,) = [each for each in found["statements"] if "of_this_test" in each["text"]]
    assert (ours["calls"], ours["rows"]) == (7, 7)
    assert 0 < ours["share"] <= 1
    assert ours["mean_ms"] == pytest.approx(ours["total_ms"] / 7)


async def test_stats_without_the_extension_say_how_to_get_it(
    migrated_uri: str, migrated: asyncpg.Connection
) -> None:
    await migrated.execute("DROP EXTENSION pg_stat_statements")
    result = await call(migrated_uri, "stats")
    assert result.exit_code == 2
    assert "CREATE EXTENSION pg_stat_statements" in result.output


async def test_stats_without_a_version_that_tells_say_how_to_get_it(
    migrated_uri: str, migrated: asyncpg.Connection
) -> None:
    """A database that came from an older server has its extensions until somebody updates them."""
    await migrated.execute("DROP EXTENSION pg_stat_statements")
    await migrated.execute("CREATE EXTENSION pg_stat_statements VERSION '1.7'")
    result = await call(migrated_uri, "stats")
    assert result.exit_code == 2
    assert "ALTER EXTENSION pg_stat_statements UPDATE" in result.output
    await migrated.execute("ALTER EXTENSION pg_stat_statements UPDATE TO '1.8'")
    assert (await answer(migrated_uri, "stats"))["since"] is None


async def test_stats_tell_what_was_in_memory_of_each_table_and_its_indexes(
    migrated_uri: str, migrated: asyncpg.Connection
) -> None:
    await migrated.execute("SELECT pg_stat_reset()")
    await migrated.execute("SELECT count(*) FROM skills WHERE name = 'nothing'")
    await migrated.execute("SELECT count(*) FROM users WHERE id = 1")
    await _counted(migrated)
    hits = (await answer(migrated_uri, "stats"))["hits"]
    tables = {each["name"]: each for each in hits["by_table"]}
    assert tables["users"]["index_hit_ratio"] is not None
    assert tables["proposals"]["index_hit_ratio"] is None
    for each in (hits, *tables.values()):
        ratios = [value for name, value in each.items() if name.endswith("_ratio")]
        assert all(ratio is None or 0 <= ratio <= 1 for ratio in ratios)


async def test_stats_show_what_a_statement_wrote_to_the_log(
    migrated_uri: str, migrated: asyncpg.Connection
) -> None:
    await migrated.execute("INSERT INTO skills (id, name) VALUES (1, 'writing')")
    (first, *_) = (await answer(migrated_uri, "stats", "--by", "wal"))["statements"]
    assert first["wal_bytes"] > 0
    (ours,) = [
        each
        for each in (await answer(migrated_uri, "stats", "--limit", "1000"))["statements"]
        if each["text"] and each["text"].startswith("INSERT INTO skills")
    ]
    assert ours["wal_bytes"] > 0


@pytest.fixture
async def onlooker(migrated_uri: str, migrated: asyncpg.Connection) -> AsyncIterator[str]:
    """The same database for a role that PostgreSQL tells nothing of others."""
    await migrated.execute("CREATE ROLE onlooker LOGIN")
    yield make_url(migrated_uri).set(username="onlooker").render_as_string(hide_password=False)
    await migrated.execute("DROP ROLE onlooker")


async def test_stats_say_that_others_statements_are_hidden(
    migrated_uri: str, migrated: asyncpg.Connection, onlooker: str
) -> None:
    await migrated.execute("SELECT count(*) AS of_another_role FROM skills")
    found = await answer(onlooker, "stats", "--limit", "1000")
    assert found["role"] == {"name": "onlooker", "sees_all": False}
    assert None in {each["text"] for each in found["statements"]}
    told = (await call(onlooker, "stats")).output
    assert 'GRANT pg_read_all_stats TO "onlooker"' in " ".join(told.split())
    assert "GRANT" not in (await call(migrated_uri, "stats")).output


async def test_what_a_role_may_not_do_is_said_in_one_line(onlooker: str) -> None:
    result = await call(onlooker, "stats", "--reset")
    assert result.exit_code == 2
    assert result.output.startswith("mercenary: the database's role may not do that: permission")


async def test_pool_counts_connections_by_application(migrated_uri: str) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(3):
            one = await stack.enter_async_context(connected(migrated_uri))
            await one.execute("SET application_name = 'three of a kind'")
        found = await answer(migrated_uri, "pool")
    server = found["server"]
    groups = {each["application"]: each["count"] for each in server["groups"]}
    assert groups["three of a kind"] == 3
    assert server["used"] == sum(each["count"] for each in server["groups"])
    assert found["workers"] == []


async def test_pool_counts_those_whose_doings_are_hidden(migrated_uri: str, onlooker: str) -> None:
    async with connected(migrated_uri) as one:
        await one.execute("SET application_name = 'somebody else'")
        server = (await answer(onlooker, "pool"))["server"]
    states = {each["application"]: each["state"] for each in server["groups"]}
    assert states["somebody else"] == "hidden"
