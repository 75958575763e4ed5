"""Each filter and sort of each list has an index that serves it, whatever is asked for.

On a seeded marketplace with statistics of its own, and nothing switched off for the planner. What
is counted doesn't grow with the tables: rows looked at for a page, rows sorted, tables read whole.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any, NamedTuple

import asyncpg
import pytest

from mercenary import settings
from mercenary.db.migrate import upgrade
from mercenary.db.page_statements import WALKED_ROWS
from mercenary.db.pages import End, PageAsk, PageQuery
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.projects.queries import select_project_pages
from mercenary.projects.schemas import RANKED_MATCHES
from mercenary.proposals.queries import select_proposal_pages
from mercenary.seeding.population import EPOCH
from mercenary.seeding.seed import seed
from mercenary.users.queries import select_public_pages, select_user_pages
from tests.db.conftest import connected
from tests.db.plans import plan_of

PROJECTS = 30_000
# Of each seeded user so many in all, since a marketplace of this size has few.
COPIES = 15
# A page of 20 and one more, each with its row in the index, its own, and a handful of skills.
PAGE_ROWS = 300
LARGE = {"projects", "project_skills", "proposals", "users", "user_skills"}

MANY_USERS = (
    """
    INSERT INTO users (id, created_at, updated_at, role, email, name, country, currency,
                       hourly_rate, headline, bio)
    SELECT users.id + copy * 1000000, created_at + copy * interval '1 second', updated_at, role,
           email || copy, name, country, currency, hourly_rate, headline, bio
    FROM users, generate_series(1, $1::int) AS copy
    """,
    """
    INSERT INTO user_skills
    SELECT user_id + copy * 1000000, skill_id, level
    FROM user_skills, generate_series(1, $1::int) AS copy
    """,
)


class Extremes(NamedTuple):
    """What there is most and least of."""

    common_skill: int
    rare_skill: int
    large_client: int
    small_client: int
    busy_freelancer: int
    idle_freelancer: int
    popular_project: int
    country: str
    rare_country: str


_MOST = "SELECT {0} FROM {1} WHERE {0} IS NOT NULL GROUP BY {0} ORDER BY count(*) {2}, {0} LIMIT 1"


@pytest.fixture(scope="module")
async def marketplace(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database with enough rows that a wrong plan is a slow one."""
    name = "plans"
    async with connected(postgres.uri) as server:
        await server.execute(f"CREATE DATABASE {name}")
    uri = postgres.uri.replace("/mercenary?", f"/{name}?")
    await upgrade(uri)
    await seed(uri, settings.get(), projects=PROJECTS, seed=1, with_demo=False)
    async with connected(uri) as connection:
        for statement in MANY_USERS:
            await connection.execute(statement, COPIES - 1)
        await connection.execute("VACUUM ANALYZE")
    yield uri
    async with connected(postgres.uri) as server:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def connection(marketplace: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(marketplace) as connection:
        await connection.execute("SET jit = off")
        yield connection


@pytest.fixture
async def extremes(connection: asyncpg.Connection) -> Extremes:
    asked = [
        ("skill_id", "project_skills", "DESC"),
        ("skill_id", "project_skills", "ASC"),
        ("client_id", "projects", "DESC"),
        ("client_id", "projects", "ASC"),
        ("freelancer_id", "proposals", "DESC"),
        ("freelancer_id", "proposals", "ASC"),
        ("project_id", "proposals", "DESC"),
        ("country", "users", "DESC"),
        ("country", "users", "ASC"),
    ]
    return Extremes(*[await connection.fetchval(_MOST.format(*each)) for each in asked])


# Somewhere in the middle of the list, by each sort.
MIDDLE: Mapping[str, End] = {
    "created_at": End(EPOCH - timedelta(days=200), 1),
    "budget": End(Decimal("700.00"), 15_000),
    "bid": End(Decimal("700.00"), 15_000),
    "name": End("Lars", 1),
    "hourly_rate": End(Decimal("60.00"), 1),
    "relevance": End(0.3, 15_000, 1_000),
}


def asks_of(
    query: PageQuery[Any], filters: dict[str, Any], *hidden: tuple[str, None]
) -> Iterator[PageAsk]:
    """The first page, one in the middle and, where an index leads there, the last by number."""
    given = tuple(sorted([*filters.items(), *hidden]))
    for sort, place in product(query.sorts, ("first", "middle", "numbered")):
        if place == "numbered" and query.is_search(PageAsk(given, sort, None, 20)):
            continue
        if sort == "-relevance" and "q" not in filters:
            continue
        after = MIDDLE[sort.removeprefix("-")] if place == "middle" else None
        skipped = 9_980 if place == "numbered" else 0
        yield PageAsk(given, sort, after, 20, None, skipped)


def keyed_lists(few: Extremes) -> Iterator[tuple[PageQuery[Any], PageAsk]]:
    """Every list by no filter, and by each that leads, with much and with little to find."""
    published, active = ("published", None), ("active", None)
    for status in ("draft", "open", "completed"):
        yield from _asks(select_project_pages, {"status": status})
    for client in (few.large_client, few.small_client):
        yield from _asks(select_project_pages, {"client_id": client}, published)
    yield from _asks(select_project_pages, {}, published)
    yield from _asks(select_project_pages, {})
    for query, hidden in ((select_public_pages, (active,)), (select_user_pages, ())):
        yield from _asks(query, {}, *hidden)
        for role in ("admin", "client", "freelancer"):
            yield from _asks(query, {"role": role}, *hidden)
        for country in (few.country, few.rare_country):
            yield from _asks(query, {"country": country}, *hidden)
    for freelancer in (few.busy_freelancer, few.idle_freelancer):
        yield from _asks(select_proposal_pages, {"freelancer_id": freelancer})


def searched_lists(few: Extremes) -> Iterator[tuple[PageQuery[Any], PageAsk]]:
    """Every other filter, alone and with others, with much and with little to find."""
    published, active = ("published", None), ("active", None)
    exact = {"min_budget": Decimal("800.00"), "max_budget": Decimal("800.00")}
    for filters in (
        {"skill__0": few.common_skill},
        {"skill__0": few.rare_skill},
        {"skill__0": few.common_skill, "skill__1": few.rare_skill},
        {"skill__0": few.common_skill, "status": "draft"},
        {"skill__0": few.rare_skill, "status": "open"},
        {"skill__0": few.rare_skill, "client_id": few.large_client},
        {"client_id": few.large_client, "status": "draft"},
        {"min_budget": Decimal("100.00")},
        {"min_budget": Decimal("9000000.00")},
        {"max_budget": Decimal("100.00")},
        exact,
        exact | {"status": "open"},
        {"q": "work"},
        {"q": "piano"},
        {"q": "zebra"},
        {"q": "work -letter", "status": "completed"},
        {"q": "zebra", "status": "draft"},
        {"q": '"work hard"', "min_budget": Decimal("100.00")},
        {"q": "work", "skill__0": few.rare_skill, "client_id": few.large_client},
    ):
        yield from _asks(select_project_pages, filters, published)
    for filters in (
        {"skill__0": few.common_skill},
        {"skill__0": few.rare_skill},
        {"skill__0": few.rare_skill, "role": "client"},
        {"role": "admin", "country": few.country},
        {"q": "year"},
        {"q": "zebra"},
        {"q": "year", "role": "client"},
        {"q": "year", "country": few.rare_country},
    ):
        yield from _asks(select_public_pages, filters, active)
    for status in ("accepted", "pending", "withdrawn"):
        yield from _asks(
            select_proposal_pages, {"freelancer_id": few.busy_freelancer, "status": status}
        )
        yield from _asks(
            select_proposal_pages, {"project_id": few.popular_project, "status": status}
        )
    yield from _asks(
        select_proposal_pages,
        {"project_id": few.popular_project, "freelancer_id": few.busy_freelancer},
    )


def _asks(
    query: PageQuery[Any], filters: dict[str, Any], *hidden: tuple[str, Any]
) -> Iterator[tuple[PageQuery[Any], PageAsk]]:
    return ((query, ask) for ask in asks_of(query, filters, *hidden))


async def test_an_index_leads_to_each_page_whatever_the_values(
    connection: asyncpg.Connection, extremes: Extremes
) -> None:
    """As one plan for any values, which is what a batch has."""
    for query, ask in keyed_lists(extremes):
        if query.is_search(ask):
            assert ask.sort == "-relevance"
            continue
        plan = await plan_of(connection, *query.statement(ask), for_values=False)
        most = PAGE_ROWS + 2 * ask.skipped
        assert (plan.rows <= most, plan.read_whole & LARGE) == (True, set()), (query.name, ask)
        assert plan.sorted_rows <= 21, (query.name, ask)


async def test_a_projects_bids_are_sorted_and_no_others(
    connection: asyncpg.Connection, extremes: Extremes
) -> None:
    bids = await connection.fetchval(
        "SELECT count(*) FROM proposals WHERE project_id = $1", extremes.popular_project
    )
    for query, ask in _asks(select_proposal_pages, {"project_id": extremes.popular_project}):
        assert not query.is_search(ask)
        plan = await plan_of(connection, *query.statement(ask), for_values=False)
        assert plan.rows <= bids + PAGE_ROWS, ask
        assert plan.sorted_rows <= bids, ask
        assert plan.read_whole & LARGE == set(), ask


async def test_a_search_walks_so_far_and_gathers_what_is_rare(
    connection: asyncpg.Connection, extremes: Extremes
) -> None:
    # Each row that is walked past may cost a look at its skills, and so may each that is gathered.
    rare = PROJECTS // 8
    for query, ask in searched_lists(extremes):
        plan = await plan_of(connection, *query.statement(ask), for_values=query.is_search(ask))
        assert plan.read_whole & LARGE == set(), (query.name, ask)
        assert plan.rows <= 3 * WALKED_ROWS + 4 * rare + 2 * ask.skipped, (query.name, ask)
        assert plan.sorted_rows <= 2 * rare, (query.name, ask)


async def test_no_more_matches_are_ranked_than_the_window_holds(
    connection: asyncpg.Connection, extremes: Extremes
) -> None:
    for query, ask in _asks(select_project_pages, {"q": "work"}, ("published", None)):
        if ask.sort == "-relevance":
            plan = await plan_of(connection, *query.statement(ask), for_values=True)
            assert 0 < plan.sorted_rows <= 2 * RANKED_MATCHES


def test_every_sort_and_filter_is_looked_at() -> None:
    """A filter or a sort that comes later has to be brought here."""
    few = Extremes(1, 2, 3, 4, 5, 6, 7, "DE", "IS")
    for query in (select_project_pages, select_public_pages, select_proposal_pages):
        asks = [ask for asked, ask in (*keyed_lists(few), *searched_lists(few)) if asked is query]
        looked_at = {name.partition("__")[0] for ask in asks for name, _ in ask.filters}
        assert looked_at == set(query.filters)
        assert {ask.sort for ask in asks} == set(query.sorts)
    assert MIDDLE["created_at"].value < datetime.now(UTC)
