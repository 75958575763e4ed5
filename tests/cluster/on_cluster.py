"""On a real cluster: each statement is planned, keyed ones by one shard, and all of it works."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from mercenary import settings
from mercenary.auth.admins import create, find_account
from mercenary.db.cleaning import clean
from mercenary.db.distribution import Spread, look, plan
from mercenary.db.engine import Database, use
from mercenary.db.invariants import INVARIANTS, check
from mercenary.db.metadata import metadata
from mercenary.db.migrate import pending
from mercenary.db.topology import is_sharded
from mercenary.db.uri import asyncpg_url
from mercenary.events.relay import Relay, database_for
from mercenary.events.sinks import Handover, Sink
from mercenary.housekeeping import CHORES
from mercenary.seeding.seed import seed
from mercenary.stats import service as statistics
from tests.citus.samples import Sample, samples
from tests.citus.statements import levels
from tests.citus.test_statements import names_its_shards
from tests.cluster.database import cluster_uri, empty, prepare

SAMPLES = {sample.name: sample for sample in samples() if sample.name in levels()}
ON_SHARDS = {name for name, level in levels().items() if any(each.spread for each in level.all)}
# An INSERT's rows say where they belong; it has as many tasks as there are shards among them.
BY_KEY = sorted(
    name
    for name in ON_SHARDS & SAMPLES.keys()
    if names_its_shards(levels()[name]) and "INSERT" not in SAMPLES[name].text[:6]
)


@pytest.fixture(scope="module")
async def uri() -> str:
    given = cluster_uri()
    assert given is not None
    await prepare(given)
    await empty(given)
    return given


@pytest.fixture(scope="module")
async def db(uri: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(uri)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def database(uri: str) -> AsyncIterator[Database]:
    opened = Database(settings.get(), uri)
    use(opened)
    yield opened
    use(None)
    await opened.close()


async def planned(db: asyncpg.Connection, sample: Sample) -> Any:
    """The plan, and nothing done."""
    explained = await db.fetchval(f"EXPLAIN (FORMAT JSON) {sample.text}", *sample.values)
    return json.loads(explained)


def tasks(node: Any) -> Iterator[int]:
    """How many tasks each distributed part of a plan has."""
    if isinstance(node, dict):
        if "Task Count" in node:
            yield node["Task Count"]
        for each in node.values():
            yield from tasks(each)
    elif isinstance(node, list):
        for each in node:
            yield from tasks(each)


async def test_every_table_is_spread_as_it_is_declared(uri: str) -> None:
    engine = create_async_engine(asyncpg_url(uri), poolclass=NullPool)
    async with engine.connect() as connection:
        spread = (await look(connection)).spread
        left = await plan(connection, metadata)
    await engine.dispose()
    declared = {name: Spread(each.info["distributed_by"]) for name, each in metadata.tables.items()}
    assert {name: spread.get(name) for name in declared} == declared
    assert left == []
    assert await pending(uri) == []


@pytest.mark.parametrize("name", sorted(SAMPLES))
async def test_a_statement_is_planned(name: str, db: asyncpg.Connection) -> None:
    assert await planned(db, SAMPLES[name])


@pytest.mark.parametrize("name", BY_KEY)
async def test_a_statement_by_key_asks_one_shard(name: str, db: asyncpg.Connection) -> None:
    found = list(tasks(await planned(db, SAMPLES[name])))
    assert found
    assert set(found) == {1}


async def test_the_product_knows_that_its_tables_are_spread(database: Database) -> None:
    async with database.reading() as connection:
        assert is_sharded(connection)


class Taken(Sink):
    """Keeps what it is handed."""

    name = "taken"

    def __init__(self) -> None:
        self.subjects: list[str] = []

    async def take(self, handover: Handover) -> None:
        self.subjects += [row.event.subject for row in handover.rows]


async def test_a_marketplace_is_seeded_cleaned_counted_and_told_of(
    uri: str, db: asyncpg.Connection, database: Database
) -> None:
    """All that isn't a request: seeding, admins, statistics, cleaning, the relay, the check."""
    seeded = await seed(uri, settings.get(), projects=1_000, seed=7, with_demo=True)
    for table, rows in (
        ("users", seeded.users), ("projects", seeded.projects), ("proposals", seeded.proposals)
    ):  # fmt: skip
        assert await db.fetchval(f"SELECT count(*) FROM {table}") == rows
    admin = await create(database, "Root@example.com", "Root", "")
    assert await find_account(database, "root@example.com") == admin

    await statistics.refresh(database)
    wanted = await db.fetchval("SELECT sum(projects) FROM stats_skills")
    posted = "SELECT count(*) FROM project_skills s JOIN projects p ON p.id = s.project_id"
    assert wanted == await db.fetchval(f"{posted} WHERE p.status <> 'draft'")
    assert await db.fetchval("SELECT sum(proposals) FROM stats_marketplace") > 0

    gone = await db.fetchval("SELECT client_id FROM projects ORDER BY id LIMIT 1")
    await db.execute(
        "UPDATE users SET is_active = false, deactivated_at = now() - interval '31 days',"
        " created_at = now() - interval '32 days' WHERE id = $1",
        gone,
    )
    await clean(database, CHORES, rows=500, pause=0, stopping=asyncio.Event())
    assert await db.fetchval("SELECT erased_at FROM users WHERE id = $1", gone) is not None
    assert await db.fetchval("SELECT count(*) FROM credentials WHERE user_id = $1", gone) == 0

    sink = Taken()
    way = database_for(settings.get(), uri)
    relay = Relay(way, [sink])
    while await relay.turn():
        pass
    await way.close()
    assert f"user:{gone}" in sink.subjects
    assert await db.fetchval("SELECT count(*) FROM outbox") == 0

    async with database.connecting() as connection:
        for invariant in INVARIANTS:
            checked = await check(connection, invariant)
            assert (checked.name, checked.sample) == (invariant.name, [])
