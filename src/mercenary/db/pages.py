"""Pages of lists by key, many pages a statement.

A page is found by where the last one ended (`(sort value, id) > (…)`), so that page 10,000 costs
what page 1 costs; only pages that are asked for by number count rows, and those end early. Pages
that are asked for together and have the same shape (the same filters, sort and fields, whatever
their values) become one statement: the asked values are rows of an `unnest`, and a LATERAL subquery
reads one page for each.

That works where an index leads to the page whatever the values are. Where the best way depends on
the value (a rare word or a common one), the page is a *search*: a statement of its own with the
values as parameters, which PostgreSQL plans for them (`Database.searching`). On a cluster, whose
shards don't take LATERAL, every page is a plain statement of its own.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import Column, Executable, Row, Select
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.arrays import columns_of
from mercenary.db.counts import CountQuery, Facet
from mercenary.db.forms import Composed, Forms
from mercenary.db.page_statements import ENDS, Filter, Filters, Shape, SortKey, Statements
from mercenary.db.projection import Fields, Projection
from mercenary.db.topology import is_sharded

Item = TypeVar("Item", bound=msgspec.Struct)

# LIMIT is written into the statement, for the planner's sake; two values keep the shapes few.
_LIMITS: Final = (20, 100)


class End(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the last item's sort value and id.

    `floor` is the least id among the rows that a windowed sort looked at.
    """

    value: Any
    id: int
    floor: int | None = None


class PageAsk(msgspec.Struct, frozen=True):
    """One page: how much of each item, which filters and sort, and after what.

    It begins behind the `End` of the page before it, or `skipped` rows from the beginning.
    """

    filters: Filters
    sort: str
    after: End | None
    limit: int
    fields: Fields = None
    skipped: int = 0


class Slice(msgspec.Struct, Generic[Item], frozen=True):
    """The items of a page, and where it ended if more follow."""

    items: Sequence[Item]
    end: End | None


class PageQuery(Composed, Generic[Item]):
    """The pages of one table, and `counts` of their rows. `Listing` asks both in batches.

    `one_of` are filters of which every ask has one, where the table isn't listed without.
    """

    def __init__(
        self,
        name: str,
        projection: Projection[Item],
        *,
        key: Column[int],
        filters: Mapping[str, Filter],
        sorts: Mapping[str, SortKey],
        facets: Mapping[str, Facet] | None = None,
        one_of: Collection[str] = (),
    ) -> None:
        self.name = name
        self.sorts = sorts
        self.filters = filters
        self._projection = projection
        self._statements = Statements(name, projection, key, filters, sorts)
        self._one_of = one_of
        self.counts = CountQuery(f"{name}_counts", self._statements, facets or {}, one_of)

    def is_search(self, ask: PageAsk) -> bool:
        """Whether no index leads to the page whatever the values, so that they have to be known."""
        return self._statements.is_search(_names(ask.filters), ask.sort)

    async def pages(
        self, db: AsyncConnection, asks: Sequence[PageAsk]
    ) -> Mapping[PageAsk, Slice[Item]]:
        """Read pages that an index leads to, one statement a shape; on a cluster one a page."""
        if is_sharded(db):
            return await self.searches(db, asks)
        shapes: defaultdict[tuple[Shape, int], list[PageAsk]] = defaultdict(list)
        for ask in asks:
            shapes[_shape_of(ask), ask.skipped].append(ask)
        found: dict[PageAsk, Slice[Item]] = {}
        for (shape, skipped), alike in shapes.items():
            rows: list[list[Row[Any]]] = [[] for _ in alike]
            parameters = _as_rows(alike) | ({"skipped": skipped} if shape.skips else {})
            for row in (await db.execute(self._statements.keyed(shape), parameters)).all():
                rows[row[-1]].append(row)  # by its name, `asked_number`, it took ten times as long
            for ask, its_rows in zip(alike, rows, strict=True):
                found[ask] = self._slice(its_rows, ask, self._statements.ends(shape))
        return found

    async def searches(
        self, db: AsyncConnection, asks: Sequence[PageAsk]
    ) -> Mapping[PageAsk, Slice[Item]]:
        """Read pages one by one, each planned for its values."""
        found: dict[PageAsk, Slice[Item]] = {}
        for ask in asks:
            rows = (await db.execute(*self.statement(ask, sharded=is_sharded(db)))).all()
            found[ask] = self._slice(rows, ask, ENDS)
        return found

    def statement(
        self, ask: PageAsk, *, sharded: bool = False
    ) -> tuple[Select[Any], dict[str, Any]]:
        """The statement and parameters that one ask becomes."""
        shape = _shape_of(ask)
        skipped = {"skipped": ask.skipped} if shape.skips else {}
        if not (sharded or self.is_search(ask)):
            return self._statements.keyed(shape), _as_rows([ask]) | skipped
        values = _values(ask.filters) | _end(ask) | skipped
        if ask.after is not None and self.sorts[ask.sort].window is not None:
            values["floor"] = ask.after.floor
        return (self._statements.plain if sharded else self._statements.search)(shape), values

    def forms(self, *, sharded: bool = False) -> Forms:
        """The statements by sort and filters: of a first page, the next, and one by its number."""
        found: dict[str, Executable] = {}
        statements = self._statements
        for names, (sort, key) in product(statements.filtered(self._one_of), self.sorts.items()):
            if key.ranks is not None and key.ranks not in names:
                continue
            compose = statements.search if statements.is_search(names, sort) else statements.keyed
            for place in ("first", "next", "numbered"):
                shape = Shape(names, sort, place == "next", place == "numbered", _LIMITS[0], None)
                form = f"{sort}?{','.join(names)}" + ("" if place == "first" else f"/{place}")
                found[form] = (statements.plain if sharded else compose)(shape)
        return found

    def _slice(self, rows: Sequence[Row[Any]], ask: PageAsk, ends: tuple[str, str]) -> Slice[Item]:
        build = self._projection.builder(ask.fields)
        kept, end = rows[: ask.limit], None
        if len(rows) > ask.limit:
            last = kept[-1]
            windowed = self.sorts[ask.sort].window is not None
            value, id = (getattr(last, name) for name in ends)
            end = End(value, id, last.floor if windowed else None)
        return Slice([build(row) for row in kept], end)


def _shape_of(ask: PageAsk) -> Shape:
    limit = next(limit for limit in _LIMITS if ask.limit <= limit)
    names = _names(ask.filters)
    return Shape(names, ask.sort, ask.after is not None, ask.skipped > 0, limit, ask.fields)


def _names(filters: Filters) -> tuple[str, ...]:
    return tuple(name for name, _ in filters)


def _values(filters: Filters) -> dict[str, Any]:
    return {name: value for name, value in filters if value is not None}


def _end(ask: PageAsk) -> dict[str, Any]:
    return {"after_value": ask.after.value, "after_id": ask.after.id} if ask.after else {}


def _as_rows(asks: Sequence[PageAsk]) -> dict[str, Any]:
    rows = [
        {"asked_number": number} | _values(ask.filters) | _end(ask)
        for number, ask in enumerate(asks)
    ]
    return columns_of("asked", rows[0], (row.values() for row in rows))
