"""The views of statistics are refreshed beside their readers, by one refresher at a time."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from mercenary import settings
from mercenary.db import engine
from mercenary.db.engine import Database
from mercenary.db.outbox import Event, Row
from mercenary.db.pages import End, PageAsk
from mercenary.errors import DeadlineExceeded, Unavailable
from mercenary.events.relay import Relay, database_for
from mercenary.events.sinks import Handover
from mercenary.seeding.seed import seed
from mercenary.stats import queries, service
from mercenary.stats.schedule import Refresher
from mercenary.stats.schemas import MarketplaceQuery, SkillStats, SkillStatsQuery
from tests.db.conftest import connected
from tests.db.plans import plan_of, planning, read_whole, rows_looked_at
from tests.events.conftest import FILL

PATIENCE = 30.0
READERS = 50
# One skill that one freelancer has, and one open project needs.
MARKETPLACE = """
    INSERT INTO skills (id, name) VALUES (1, 'Python');
    INSERT INTO users (id, role, email, name)
    VALUES (1, 'client', 'a@example.com', 'A'), (2, 'freelancer', 'b@example.com', 'B');
    INSERT INTO user_skills VALUES (2, 1, 3);
    INSERT INTO projects (id, client_id, client_name, status, currency, budget, title, description)
    VALUES (1, 1, 'A', 'open', 'USD', 100, 'Title', 'Description');
    INSERT INTO project_skills VALUES (1, 1);
"""


@asynccontextmanager
async def opened(uri: str, **changes: Any) -> AsyncIterator[Database]:
    """The database as the process's own. Nobody who waits for a lock gives up."""
    database = Database(replace(settings.get(), **{"lock_timeout": PATIENCE} | changes), uri)
    engine.use(database)
    try:
        yield database
    finally:
        engine.use(None)
        await database.close()


@pytest.fixture
async def database(migrated_uri: str) -> AsyncIterator[Database]:
    async with opened(migrated_uri) as database:
        yield database


@pytest.fixture
async def filled(database: Database, migrated: asyncpg.Connection) -> asyncpg.Connection:
    """A connection to it, with something to be gathered."""
    await migrated.execute(MARKETPLACE)
    return migrated


async def skills() -> list[SkillStats]:
    return (await service.list_skills(SkillStatsQuery())).items


async def refreshed_at() -> str:
    return (await service.show_marketplace(MarketplaceQuery())).refreshed_at


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until the database says so."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - what the server does has no event here
            await asyncio.sleep(0.005)


@asynccontextmanager
async def held_up(uri: str, database: Database) -> AsyncIterator[asyncio.Task[bool]]:
    """A refresh that is half way, for as long as the block lasts: it waits for a table."""
    async with connected(uri) as holder:
        holding = holder.transaction()
        await holding.start()
        await holder.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")
        task = asyncio.create_task(service.refresh(database))
        await until(lambda: waiting(uri))
        yield task
        await holding.rollback()
        await asyncio.wait([task])


async def waiting(uri: str) -> int | None:
    """The server's process of a refresh that waits for a lock."""
    query = """
        SELECT pid FROM pg_stat_activity
        WHERE query LIKE 'REFRESH%' AND wait_event_type = 'Lock' AND datname = current_database()
    """
    async with connected(uri) as connection:
        pid: int | None = await connection.fetchval(query)
        return pid


async def test_views_that_were_never_refreshed_answer_that_there_is_nothing(
    database: Database,
) -> None:
    page = await service.list_skills(SkillStatsQuery())
    shown = await service.show_marketplace(MarketplaceQuery())
    assert (page.items, page.next_cursor, page.refreshed_at) == ([], None, shown.refreshed_at)
    assert len(shown.days) == 30
    assert {(day.proposals, day.hires, day.sign_ups.client) for day in shown.days} == {(0, 0, 0)}


async def test_a_refresh_shows_what_is_committed_and_tells_caches_of_it(
    database: Database, filled: asyncpg.Connection
) -> None:
    before = await refreshed_at()
    assert await service.refresh(database)
    (skill,) = await skills()
    assert (skill.demand, skill.supply) == (1, 1)
    assert await refreshed_at() > before
    (row,) = await filled.fetch("SELECT name, subject, tags, stamp FROM outbox")
    assert tuple(row)[:3] == ("stats.refreshed", "stats", "stats")
    assert row["stamp"] > 0


async def test_fifty_readers_go_on_reading_beside_a_refresh(
    migrated_uri: str, database: Database, filled: asyncpg.Connection
) -> None:
    """What they see is all old until it is all new."""
    async with held_up(migrated_uri, database) as refresh:
        read = await asyncio.gather(*(skills() for _ in range(READERS)))
        days = await asyncio.gather(
            *(service.show_marketplace(MarketplaceQuery()) for _ in range(READERS))
        )
        assert not refresh.done()
        assert read == [[]] * READERS
        assert {day.sign_ups.client for each in days for day in each.days} == {0}
    assert await refresh

    async def read_on() -> None:
        while not await skills():
            pass

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(read_on() for _ in range(READERS)))


async def test_of_two_refreshers_one_works_and_the_other_doesnt_wait(
    migrated_uri: str, database: Database, filled: asyncpg.Connection
) -> None:
    async with held_up(migrated_uri, database) as first:
        assert await service.refresh(database) is False
        assert not first.done()
    assert await first is True
    assert await service.refresh(database) is True


async def test_a_refresh_that_is_too_soon_is_none(
    database: Database, filled: asyncpg.Connection
) -> None:
    """Whoever did the last one."""
    assert await service.refresh(database)
    before = await refreshed_at()
    assert await service.refresh(database, least=3600) is False
    assert await refreshed_at() == before
    assert await service.refresh(database, least=0)


async def test_a_killed_refresher_leaves_the_old_rows_and_nothing_locked(
    migrated_uri: str, database: Database, filled: asyncpg.Connection
) -> None:
    before = await refreshed_at()
    async with held_up(migrated_uri, database) as refresh:
        await filled.execute("SELECT pg_terminate_backend($1)", await waiting(migrated_uri))
        with pytest.raises(Unavailable):
            await refresh
        assert (await skills(), await refreshed_at()) == ([], before)
    assert await filled.fetchval("SELECT count(*) FROM outbox") == 0
    assert await service.refresh(database)
    assert len(await skills()) == 1


async def test_a_refresh_ends_when_it_takes_too_long(
    migrated_uri: str, filled: asyncpg.Connection
) -> None:
    """It has a timeout of its own, whatever the one of other statements."""
    async with opened(migrated_uri, stats_timeout=0.2, statement_timeout=60.0) as database:
        async with held_up(migrated_uri, database) as refresh:
            with pytest.raises(DeadlineExceeded):
                await refresh
        assert await skills() == []


async def test_a_refresh_may_take_longer_than_other_statements(
    migrated_uri: str, filled: asyncpg.Connection
) -> None:
    async with (
        opened(migrated_uri, statement_timeout=0.2) as database,
        held_up(migrated_uri, database) as refresh,
    ):
        async with database.connecting() as connection:
            with pytest.raises(DBAPIError):
                await connection.execute(text("SELECT pg_sleep(60)"))
        assert not refresh.done()
    assert await refresh


async def test_a_refresher_counts_what_changes_and_refreshes_beside_whoever_tells_it(
    migrated_uri: str, filled: asyncpg.Connection
) -> None:
    async with (
        opened(migrated_uri, stats_every=3600.0, stats_changes=4, stats_least=0.01) as database,
        Refresher(database) as refresher,
        database.connecting() as connection,
    ):
        ids = itertools.count()

        def told(*names: str) -> Handover:
            rows = [Row(next(ids), Event(name, "subject"), 1, 0.0) for name in names]
            return Handover(connection, rows, None)

        others = ("session.ended", "stats.refreshed", "cache.purged")
        first, due = told(*others * 100, "project.created"), refresher.due
        for _ in range(5):  # whoever comes behind can't take it yet
            await refresher.take(first)
        assert refresher.due == due
        await refresher.take(told("user.created", "proposal.submitted"))
        await until(skills)


async def test_a_refresher_that_ends_takes_its_refresh_with_it(
    migrated_uri: str, filled: asyncpg.Connection
) -> None:
    async with opened(migrated_uri, stats_every=0.01, stats_least=0.01) as database:
        async with connected(migrated_uri) as holder, holder.transaction():
            await holder.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")
            async with Refresher(database):
                await until(lambda: waiting(migrated_uri))
            await until(lambda: ended(migrated_uri))
        assert await skills() == []


async def ended(uri: str) -> bool:
    return await waiting(uri) is None


async def test_a_refresher_survives_a_database_that_refuses(
    migrated_uri: str, filled: asyncpg.Connection
) -> None:
    """And does its work as soon as it can."""

    async def is_told() -> bool:
        return any(line["event"] == "may not refresh statistics" for line in logged)

    await filled.execute("ALTER TABLE stats_refreshes RENAME TO elsewhere")
    async with (
        opened(migrated_uri, stats_every=0.01, stats_least=0.01) as database,
        Refresher(database),
    ):
        with capture_logs() as logged:
            await until(is_told)
        await filled.execute("ALTER TABLE elsewhere RENAME TO stats_refreshes")
        await until(skills)


async def test_the_relay_has_them_refreshed_and_isnt_held_up_by_it(
    migrated_uri: str, filled: asyncpg.Connection
) -> None:
    """Rows are handed on and deleted while a refresh waits."""

    async def is_handed_on() -> bool:
        return bool(await filled.fetchval("SELECT count(*) = 0 FROM outbox"))

    changed = replace(settings.get(), stats_every=3600.0, stats_changes=100, stats_least=0.01)
    stopping = asyncio.Event()
    async with opened(migrated_uri):
        relaying = database_for(replace(changed, relay_turn=PATIENCE), migrated_uri)
        async with Refresher(relaying) as refresher:
            relay = asyncio.create_task(Relay(relaying, [refresher]).run(stopping))
            async with connected(migrated_uri) as holder, holder.transaction():
                await holder.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")
                for _ in range(2):
                    await filled.execute(FILL, 100)
                    await until(is_handed_on)
                    await until(lambda: waiting(migrated_uri))
            await until(skills)
            stopping.set()
            await relay
        await relaying.close()


async def test_seeding_leaves_them_refreshed(migrated_uri: str) -> None:
    await seed(migrated_uri, settings.get(), projects=1_000, seed=1, with_demo=False)
    async with opened(migrated_uri), connected(migrated_uri) as connection:
        counted = await connection.fetchval(
            "SELECT count(*) FROM project_skills s JOIN projects p ON p.id = s.project_id"
            " WHERE p.status = 'open'"
        )
        assert await connection.fetchval("SELECT sum(demand) FROM stats_skills") == counted
        page = await service.list_skills(SkillStatsQuery(limit=100))
        assert [skill.demand for skill in page.items] == sorted(
            (skill.demand for skill in page.items), reverse=True
        )
        assert any(skill.bids for skill in page.items)
        await connection.execute("VACUUM ANALYZE")
    async with planning(migrated_uri) as connection:
        await _read_by_key(connection)


async def _read_by_key(connection: AsyncConnection) -> None:
    """A page and a month are read of the views alone, by an index, and no more than that."""
    pages = queries.select_skill_stats_pages
    for sort, value in (("demand", 20), ("supply", 3), ("name", "m")):
        for given in {sort, f"-{sort}"} & set(pages.sorts):
            for after in (None, End(value, 50)):
                plan = await plan_of(
                    connection, *pages.statement(PageAsk((), given, after, 20)), for_values=False
                )
                assert rows_looked_at(plan) <= 2 * 21 + 1, (given, after)
                assert read_whole(plan) == set(), (given, after)
