"""The rules of statistics: what is read of the views, and how they are refreshed."""

from datetime import UTC, date, datetime, timedelta
from typing import Final

from mercenary.db.batches import read_batch
from mercenary.db.engine import Database
from mercenary.db.faults import as_problem
from mercenary.db.listing import Listing
from mercenary.db.outbox import Event, record, telling
from mercenary.db.projection import Fields
from mercenary.errors import Invalid
from mercenary.http.endpoint import RefreshedPage
from mercenary.http.lists import read_page
from mercenary.http.wire import rfc3339
from mercenary.stats import queries
from mercenary.stats.schemas import (
    DAYS,
    MOST_DAYS,
    MarketplaceDay,
    MarketplaceQuery,
    MarketplaceStats,
    SkillStats,
    SkillStatsQuery,
)

REFRESHED: Final = "stats.refreshed"
_ONE_DAY: Final = timedelta(days=1)

find_refresh = read_batch(queries.select_refreshes)
find_days = read_batch(queries.select_days)
skill_stats_list = Listing(queries.select_skill_stats_pages)


async def list_skills(query: SkillStatsQuery, fields: Fields = None) -> RefreshedPage[SkillStats]:
    """A page of skills, the most wanted ones first unless another order is asked for."""
    # Asked first: what is read afterwards is at least as new as is said.
    refreshed_at = await _refreshed_at()
    page = await read_page(
        skill_stats_list,
        parameters=query,
        fields=fields,
        sort=query.sort,
        filters={"skill": query.skill, "q": query.q},
    )
    return RefreshedPage(
        page.items, page.next_cursor, page.total, refreshed_at=rfc3339(refreshed_at)
    )


async def show_marketplace(query: MarketplaceQuery) -> MarketplaceStats:
    """The days that are asked for, as far as the last refresh.

    Raises:
        Invalid: the days are too many, or the last comes before the first.
    """
    refreshed_at = await _refreshed_at()
    today = refreshed_at.astimezone(UTC).date()
    first, last = _range(query, today)
    last = min(last, today)
    known = await find_days((first, last)) or {}
    count = max(0, (last - first).days + 1)
    days = [first + number * _ONE_DAY for number in range(count)]
    return MarketplaceStats(
        rfc3339(refreshed_at), [known.get(day) or MarketplaceDay(day) for day in days]
    )


async def refresh(database: Database, *, least: float = 0.0) -> bool:
    """Gather both views anew, on a connection of its own, and have caches forget the old ones.

    False where nothing was done: somebody else is at it, or did it less than `least` seconds ago.

    Raises:
        Unavailable: the database is away.
        DeadlineExceeded: it took longer than the settings allow.
    """
    try:
        async with (
            database.taking_time(database.settings.stats_timeout) as connection,
            connection.begin(),
            telling(connection),
        ):
            turn = await queries.take_turn(connection)
            if not turn or not await queries.mark_refresh(connection, least):
                return False
            await queries.refresh_views(connection)
            record(Event(REFRESHED, "stats", tags=("stats",)))
    except Exception as error:
        raise as_problem(error) from error
    return True


async def _refreshed_at() -> datetime:
    found = await find_refresh(1)
    if found is None:
        raise LookupError("nothing says when the statistics were refreshed")
    return found


def _range(query: MarketplaceQuery, today: date) -> queries.Days:
    last = query.to or max(today, query.from_ or today)
    first = query.from_ or last - min(DAYS - 1, (last - date.min).days) * _ONE_DAY
    if first > last:
        raise Invalid.at("?from", "Expected a day that doesn't come after `to`")
    if (last - first).days >= MOST_DAYS:
        raise Invalid.at("?from", f"Expected at most {MOST_DAYS} days up to `to`")
    return first, last
