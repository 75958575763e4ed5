"""All that the database is asked about statistics. Reads take many and return many."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Date,
    Interval,
    Row,
    Text,
    bindparam,
    cast,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.arrays import columns_of, rows_of
from mercenary.db.page_statements import Filter, SortKey
from mercenary.db.pages import PageQuery
from mercenary.db.projection import Projection
from mercenary.db.similarity import resembles
from mercenary.stats.schemas import (
    MarketplaceDay,
    Published,
    Quartiles,
    SignUps,
    SkillStats,
)
from mercenary.stats.tables import stats_marketplace, stats_refreshes, stats_skills

# Held by a transaction, never by a session: it ends with a killed refresher, and behind a pooler.
LOCK_KEY: Final = int.from_bytes(b"statists", "big")

Days = tuple[date, date]
"""The first and the last of a range of days."""

_REFRESHED = select(stats_refreshes.c.id, stats_refreshes.c.refreshed_at)


async def select_refreshes(db: AsyncConnection, ids: Collection[int]) -> Mapping[int, datetime]:
    """When the views were refreshed last, by the id of the one row there is."""
    del ids
    return {row.id: row.refreshed_at for row in await db.execute(_REFRESHED)}


# As text, for SQLAlchemy would read JSON itself, into floats.
def _as_text(column: Column[object]) -> ColumnElement[str]:
    return cast(column, Text).label(column.name)


_quartiles = msgspec.json.Decoder(list[Quartiles]).decode
_projection = Projection(
    SkillStats,
    {
        "id": stats_skills.c.id,
        "name": stats_skills.c.name,
        "demand": stats_skills.c.demand,
        "projects": stats_skills.c.projects,
        "supply": stats_skills.c.supply,
        "budgets": _as_text(stats_skills.c.budgets),
        "bids": _as_text(stats_skills.c.bids),
    },
    converts={"budgets": _quartiles, "bids": _quartiles},
)
_demand = SortKey(lambda _: stats_skills.c.demand, BigInteger(), int)
_supply = SortKey(lambda _: stats_skills.c.supply, BigInteger(), int)
_SORTS = {
    "demand": _demand,
    "-demand": replace(_demand, descending=True),
    "supply": _supply,
    "-supply": replace(_supply, descending=True),
    "name": SortKey(lambda _: func.lower(stats_skills.c.name), Text(), str),
}
# There is a row a skill, and skills are few: whatever is looked for, looking at all of them is as
# good a way as any.
_BY_ANYTHING = frozenset(_SORTS)

select_skill_stats_pages = PageQuery(
    "select_skill_stats_pages",
    _projection,
    key=stats_skills.c.id,
    filters={
        "skill": Filter.of(stats_skills.c.id, leads=_BY_ANYTHING),
        "q": Filter(
            Text(), lambda words: resembles(stats_skills.c.name, words), leads=_BY_ANYTHING
        ),
    },
    sorts=_SORTS,
)

_ASKED = rows_of("asked", first=Date(), last=Date())
_DAYS = select(
    _ASKED.c.first,
    _ASKED.c.last,
    stats_marketplace.c.day,
    *(
        stats_marketplace.c[name]
        for name in ("clients", "freelancers", "open", "in_progress", "completed", "cancelled")
    ),
    _as_text(stats_marketplace.c.budgets),
    stats_marketplace.c.proposals,
    stats_marketplace.c.hires,
    _as_text(stats_marketplace.c.bids),
).join(stats_marketplace, stats_marketplace.c.day.between(_ASKED.c.first, _ASKED.c.last))


async def select_days(
    db: AsyncConnection, ranges: Sequence[Days]
) -> Mapping[Days, dict[date, MarketplaceDay]]:
    """The days of each range on which there was anything."""
    asked = columns_of("asked", _ASKED.c.keys(), ranges)
    found: dict[Days, dict[date, MarketplaceDay]] = {days: {} for days in ranges}
    for row in await db.execute(_DAYS, asked):
        found[row.first, row.last][row.day] = _day(row)
    return found


def _day(row: Row[*tuple[Any, ...]]) -> MarketplaceDay:
    return MarketplaceDay(
        row.day,
        SignUps(row.clients, row.freelancers),
        Published(row.open, row.in_progress, row.completed, row.cancelled),
        _quartiles(row.budgets),
        row.proposals,
        row.hires,
        _quartiles(row.bids),
    )


_TAKE_TURN = select(func.pg_try_advisory_xact_lock(literal(LOCK_KEY, BigInteger())))
_new = insert(stats_refreshes).values(id=1, refreshed_at=func.now())
_MARK = _new.on_conflict_do_update(
    index_elements=[stats_refreshes.c.id],
    set_={"refreshed_at": _new.excluded.refreshed_at},
    # A difference of two times, for on a cluster only what is immutable decides about a conflict.
    where=_new.excluded.refreshed_at - stats_refreshes.c.refreshed_at
    >= bindparam("least", type_=Interval()),
).returning(stats_refreshes.c.id)


async def take_turn(tx: AsyncConnection) -> bool:
    """Whether this transaction is the one that refreshes, until it ends."""
    return bool((await tx.execute(_TAKE_TURN)).scalar_one())


async def mark_refresh(tx: AsyncConnection, least: float) -> bool:
    """Note that what is committed by now will be in the views; not within `least` seconds again.

    A statement of its own behind the turn: the turn's snapshot may be older than the last refresh.
    """
    asked = {"least": timedelta(seconds=least)}
    return (await tx.execute(_MARK, asked)).first() is not None


_REFRESH = {
    view.name: text(f"REFRESH MATERIALIZED VIEW CONCURRENTLY {view.name}")
    for view in (stats_skills, stats_marketplace)
}


async def refresh_views(tx: AsyncConnection) -> None:
    """Gather everything anew. Readers see the old rows until the transaction commits."""
    for statement in _REFRESH.values():
        await tx.execute(statement)
