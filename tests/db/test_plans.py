"""Each filter and sort of each list has an index that serves it, whatever is asked for.

On a seeded marketplace with statistics of its own, and nothing switched off for the planner. What
is counted doesn't grow with the tables: rows looked at for a page, rows sorted, tables read whole.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any, NamedTuple

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary import settings
from mercenary.db.counts import CountAsk
from mercenary.db.migrate import upgrade
from mercenary.db.page_statements import WALKED_ROWS
from mercenary.db.pages import End, PageAsk, PageQuery
from mercenary.db.plans import Plan
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.projects.queries import select_project_pages
from mercenary.projects.schemas import RANKED_MATCHES
from mercenary.proposals.queries import select_proposal_pages
from mercenary.seeding.population import EPOCH
from mercenary.seeding.seed import seed
from mercenary.users.queries import select_public_pages, select_user_pages
from tests.db.conftest import connected
from tests.db.plans import plan_of, planning, read_whole, rows_looked_at, scans, sorted_rows

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
async def connection(marketplace: str) -> AsyncIterator[AsyncConnection]:
    async with planning(marketplace) as connection:
        yield connection


@pytest.fixture
async def extremes(connection: AsyncConnection) -> Extremes:
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
    found = [await connection.exec_driver_sql(_MOST.format(*each)) for each in asked]
    await connection.rollback()
    return Extremes(*[each.scalar_one() for each in found])


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
    connection: AsyncConnection, extremes: Extremes
) -> None:
    """As one plan for any values, which is what a batch has."""
    for query, ask in keyed_lists(extremes):
        if query.is_search(ask):
            assert ask.sort == "-relevance"
            continue
        plan = await plan_of(connection, *query.statement(ask), for_values=False)
        most = PAGE_ROWS + 2 * ask.skipped
        assert (rows_looked_at(plan) <= most, read_whole(plan) & LARGE) == (True, set()), (
            query.name,
            ask,
        )
        assert sorted_rows(plan) <= 21, (query.name, ask)


async def test_a_projects_bids_are_sorted_and_no_others(
    connection: AsyncConnection, extremes: Extremes
) -> None:
    counted = "SELECT count(*) FROM proposals WHERE project_id = $1"
    found = await connection.exec_driver_sql(counted, (extremes.popular_project,))
    bids = found.scalar_one()
    for query, ask in _asks(select_proposal_pages, {"project_id": extremes.popular_project}):
        assert not query.is_search(ask)
        plan = await plan_of(connection, *query.statement(ask), for_values=False)
        assert rows_looked_at(plan) <= bids + PAGE_ROWS, ask
        assert sorted_rows(plan) <= bids, ask
        assert read_whole(plan) & LARGE == set(), ask


async def test_a_search_walks_so_far_and_gathers_what_is_rare(
    connection: AsyncConnection, extremes: Extremes
) -> None:
    # Each row that is walked past may cost a look at its skills, and so may each that is gathered.
    rare = PROJECTS // 8
    for query, ask in searched_lists(extremes):
        plan = await plan_of(connection, *query.statement(ask), for_values=query.is_search(ask))
        assert read_whole(plan) & LARGE == set(), (query.name, ask)
        assert rows_looked_at(plan) <= 3 * WALKED_ROWS + 4 * rare + 2 * ask.skipped, (
            query.name,
            ask,
        )
        assert sorted_rows(plan) <= 2 * rare, (query.name, ask)


async def test_no_more_matches_are_ranked_than_the_window_holds(
    connection: AsyncConnection, extremes: Extremes
) -> None:
    for query, ask in _asks(select_project_pages, {"q": "work"}, ("published", None)):
        if ask.sort == "-relevance":
            plan = await plan_of(connection, *query.statement(ask), for_values=True)
            assert 0 < sorted_rows(plan) <= 2 * RANKED_MATCHES


async def test_totals_read_nothing_but_an_index_where_one_holds_the_filters(
    connection: AsyncConnection,
) -> None:
    low, high = Decimal("300.00"), Decimal("900.00")
    for query, filters in (
        (select_project_pages, {}),
        (select_project_pages, {"published": None}),
        (select_project_pages, {"published": None, "status": "open"}),
        (select_project_pages, {"published": None, "min_budget": low, "max_budget": high}),
        (select_project_pages, {"published": None, "status": "completed", "max_budget": low}),
        (select_user_pages, {}),
        (select_user_pages, {"role": "client"}),
        (select_public_pages, {"active": None}),
        (select_proposal_pages, {"project_id": 1}),
    ):
        plan = await counted(connection, query, filters)
        assert {kind for kind, _ in scans(plan)} == {"Index Only Scan"}, (query.name, filters)


async def test_facets_of_many_projects_leave_the_table_alone(
    connection: AsyncConnection, extremes: Extremes
) -> None:
    """The rows hold descriptions, which are many times what is counted."""
    for filters in (
        {},
        {"status": "open"},
        {"min_budget": Decimal("100.00")},
        {"status": "completed", "max_budget": Decimal("900.00")},
    ):
        hidden: dict[str, Any] = {"published": None} | filters
        plan = await counted(connection, select_project_pages, hidden, by_value=True)
        rows_read = {place for kind, place in scans(plan) if kind != "Index Only Scan"}
        assert rows_read <= {"project_skills"}, filters


async def test_counts_of_what_is_rare_look_at_little_else(
    connection: AsyncConnection, extremes: Extremes
) -> None:
    for filters in (
        {"skill__0": extremes.rare_skill},
        {"skill__0": extremes.common_skill, "skill__1": extremes.rare_skill},
        {"client_id": extremes.small_client},
        {"client_id": extremes.small_client, "status": "open"},
        {"q": "zebra"},
        {"q": "work", "skill__0": extremes.rare_skill},
    ):
        hidden: dict[str, Any] = {"published": None} | filters
        for by_value in (False, True):
            plan = await counted(connection, select_project_pages, hidden, by_value=by_value)
            assert read_whole(plan) & LARGE == set(), filters
            # With nothing to find them by, the facets look at six times as many rows.
            assert rows_looked_at(plan) <= PROJECTS, filters


async def counted(
    connection: AsyncConnection,
    query: PageQuery[Any],
    filters: dict[str, Any],
    *,
    by_value: bool = False,
) -> Plan:
    """The plan of a count."""
    ask = CountAsk(tuple(sorted(filters.items())), by_value)
    return await plan_of(connection, *query.counts.statement(ask), for_values=True)


@pytest.fixture
async def fresh_drafts(connection: AsyncConnection) -> AsyncIterator[int]:
    """A fifth of all projects are drafts, half of them at each end of each list."""
    transaction = await connection.begin()
    count = PROJECTS // 4
    await connection.exec_driver_sql(
        """
        INSERT INTO projects (id, client_id, client_name, status, currency, title, description,
                              created_at, budget)
        SELECT 900000 + number, 1, 'Anybody', 'draft', 'USD', 'Work', 'Design work',
               now() + number % 2 * interval '-20 years', 0.01 + number % 2 * 90000000
        FROM generate_series(1, $1::int) AS number
        """,
        (count,),
    )
    await connection.exec_driver_sql("ANALYZE projects")
    yield count
    await transaction.rollback()


async def test_drafts_at_the_head_of_a_list_cost_others_nothing(
    connection: AsyncConnection, extremes: Extremes, fresh_drafts: int
) -> None:
    assert fresh_drafts > 10 * PAGE_ROWS
    for query, ask in _asks(select_project_pages, {}, ("published", None)):
        plan = await plan_of(connection, *query.statement(ask), for_values=False)
        assert rows_looked_at(plan) <= PAGE_ROWS + 2 * ask.skipped, ask
    for filters in (
        {"q": "work"},
        {"skill__0": extremes.common_skill},
        {"min_budget": Decimal("0.01")},
        {"max_budget": Decimal("90000000.00")},
    ):
        for query, ask in _asks(select_project_pages, filters, ("published", None)):
            if ask.sort == "-relevance":
                continue
            plan = await plan_of(connection, *query.statement(ask), for_values=query.is_search(ask))
            # The walk stops where it has filled the page; drafts would take it to its end.
            assert rows_looked_at(plan) <= WALKED_ROWS + PAGE_ROWS + 2 * ask.skipped, ask


def test_every_sort_and_filter_is_looked_at() -> None:
    """A filter or a sort that comes later has to be brought here."""
    few = Extremes(1, 2, 3, 4, 5, 6, 7, "DE", "IS")
    for query in (select_project_pages, select_public_pages, select_proposal_pages):
        asks = [ask for asked, ask in (*keyed_lists(few), *searched_lists(few)) if asked is query]
        looked_at = {name.partition("__")[0] for ask in asks for name, _ in ask.filters}
        assert looked_at == set(query.filters)
        assert {ask.sort for ask in asks} == set(query.sorts)
    assert MIDDLE["created_at"].value < datetime.now(UTC)
