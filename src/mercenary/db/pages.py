"""Pages of lists by key, many pages a statement.

A page is found by where the last one ended (`(sort value, id) > (…)`), so that page 10,000 costs
what page 1 costs; only pages that are asked for by number count rows, and those end early. Pages
that are asked for together and have the same shape (the same filters, sort and fields, whatever
their values) become one statement: the asked values are rows of an `unnest`, and a LATERAL subquery
reads one page for each.

That works where an index leads to the page whatever the values are. Where the best way depends on
the value (a rare word or a common one), the page is a *search*: a statement of its own with the
values as parameters, which PostgreSQL plans for them (`Database.searching`).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    Row,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.types import TypeEngine

from mercenary.db.arrays import columns_of, rows_of
from mercenary.db.projection import Fields, Projection

Item = TypeVar("Item", bound=msgspec.Struct)
Filters = tuple[tuple[str, Any], ...]
"""Sorted (name, value) pairs; of a name that counts more than once each has `__` and a number."""

# LIMIT is written into the statement, for the planner's sake; two values keep the shapes few.
_LIMITS: Final = (20, 100)
_SHAPES: Final = 256


class Asked(Protocol):
    """The asked values by name: columns of rows, or parameters."""

    def __getitem__(self, name: str, /) -> ColumnElement[Any]:
        """The value, as a statement has it."""


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


class Filter(msgspec.Struct, frozen=True):
    """A condition on the asked value; `type_` None is a condition that takes no value.

    `leads` are the sorts for which an index begins with the filter's column, so that it leads to
    the page whatever the value. `hides` is for a condition that nearly every row passes.
    """

    type_: TypeEngine[Any] | None
    condition: Callable[[Any], ColumnElement[bool]]
    leads: frozenset[str] = frozenset()
    hides: bool = False


class SortKey(msgspec.Struct, frozen=True):
    """What a list can be sorted by. The id breaks ties in the same direction.

    `expression` sees the asked values, since relevance depends on them; `python` is the type that
    a cursor's value is read back as. A sort that no index serves has a `window`: no more than so
    many matches, those with the highest ids, are sorted and listed.
    """

    expression: Callable[[Asked], ColumnElement[Any]]
    type_: TypeEngine[Any]
    python: Any
    descending: bool = False
    window: int | None = None


class _Shape(msgspec.Struct, frozen=True):
    """What of a page's ask changes the statement's text."""

    filters: tuple[str, ...]
    sort: str
    continues: bool
    skips: bool
    limit: int
    fields: Fields


class PageQuery(Generic[Item]):
    """The pages of one table, and how many rows they have in all. `Listing` asks it in batches."""

    def __init__(
        self,
        name: str,
        projection: Projection[Item],
        *,
        key: Column[int],
        filters: Mapping[str, Filter],
        sorts: Mapping[str, SortKey],
    ) -> None:
        self.name = name
        self.sorts = sorts
        self._projection = projection
        self._key = key
        self._filters = filters
        self._keyed = lru_cache(maxsize=_SHAPES)(self._compose_keyed)
        self._planned = lru_cache(maxsize=_SHAPES)(self._compose_planned)
        self._count = lru_cache(maxsize=_SHAPES)(self._compose_count)

    def is_search(self, ask: PageAsk) -> bool:
        """Whether no index leads to the page whatever the values, so that they have to be known."""
        if self.sorts[ask.sort].window is not None:
            return True
        filters = [self._filter(name) for name, _ in ask.filters]
        narrowing = [filter_ for filter_ in filters if not filter_.hides]
        return len(narrowing) > 1 or any(ask.sort not in each.leads for each in narrowing)

    async def pages(
        self, db: AsyncConnection, asks: Sequence[PageAsk]
    ) -> Mapping[PageAsk, Slice[Item]]:
        """Read pages that an index leads to, one statement a shape."""
        shapes: defaultdict[tuple[_Shape, int], list[PageAsk]] = defaultdict(list)
        for ask in asks:
            shapes[_shape_of(ask), ask.skipped].append(ask)
        found: dict[PageAsk, Slice[Item]] = {}
        for (shape, skipped), alike in shapes.items():
            rows: list[list[Row[Any]]] = [[] for _ in alike]
            parameters = _as_rows(alike) | ({"skipped": skipped} if shape.skips else {})
            for row in (await db.execute(self._keyed(shape), parameters)).all():
                rows[row.asked_number].append(row)
            for ask, its_rows in zip(alike, rows, strict=True):
                found[ask] = self._slice(its_rows, ask)
        return found

    async def searches(
        self, db: AsyncConnection, asks: Sequence[PageAsk]
    ) -> Mapping[PageAsk, Slice[Item]]:
        """Read pages one by one, each planned for its values."""
        found: dict[PageAsk, Slice[Item]] = {}
        for ask in asks:
            rows = (await db.execute(*self.statement(ask))).all()
            found[ask] = self._slice(rows, ask)
        return found

    async def totals(self, db: AsyncConnection, asks: Sequence[Filters]) -> Mapping[Filters, int]:
        """Count all rows that pass the filters, one by one, each planned for its values."""
        found: dict[Filters, int] = {}
        for filters in asks:
            statement = self._count(tuple(name for name, _ in filters))
            found[filters] = (await db.execute(statement, _values(filters))).scalar_one()
        return found

    def statement(self, ask: PageAsk) -> tuple[Select[Any], dict[str, Any]]:
        """The statement and parameters that one ask becomes."""
        shape = _shape_of(ask)
        skipped = {"skipped": ask.skipped} if shape.skips else {}
        if not self.is_search(ask):
            return self._keyed(shape), _as_rows([ask]) | skipped
        values = _values(ask.filters) | _end(ask) | skipped
        if ask.after is not None and self.sorts[ask.sort].window is not None:
            values["floor"] = ask.after.floor
        return self._planned(shape), values

    def _slice(self, rows: Sequence[Row[Any]], ask: PageAsk) -> Slice[Item]:
        build = self._projection.builder(ask.fields)
        kept, end = rows[: ask.limit], None
        if len(rows) > ask.limit:
            last = kept[-1]
            windowed = self.sorts[ask.sort].window is not None
            end = End(last.sort_value, last.sort_id, last.floor if windowed else None)
        return Slice([build(row) for row in kept], end)

    def _compose_keyed(self, shape: _Shape) -> Select[Any]:
        sort = self.sorts[shape.sort]
        asked = rows_of("asked", **self._asked_types(shape))
        if shape.skips:
            keys = self._keys(shape, asked.c).correlate(asked).lateral("keys")
            columns = [*self._projection.columns(shape.fields), asked.c.asked_number, *keys.c]
            source = self._joined(asked.join(keys, true()), keys)
            page: FromClause = keys
        else:
            page = self._page(shape, asked.c).lateral("page")
            columns = [*page.c, asked.c.asked_number]
            source = asked.join(page, true())
        order = _directed(sort, page.c.sort_value, page.c.sort_id)
        return select(*columns).select_from(source).order_by(asked.c.asked_number, *order)

    def _compose_planned(self, shape: _Shape) -> Select[Any]:
        sort = self.sorts[shape.sort]
        asked = {name: bindparam(name, type_=t) for name, t in self._asked_types(shape).items()}
        if not shape.skips and sort.window is None:
            return self._page(shape, asked)
        found = self._keys if sort.window is None else self._windowed
        keys = found(shape, asked).subquery("keys")
        return (
            select(*self._projection.columns(shape.fields), *keys.c)
            .select_from(self._joined(keys, keys))
            .order_by(*_directed(sort, keys.c.sort_value, keys.c.sort_id))
        )

    def _compose_count(self, names: tuple[str, ...]) -> Select[Any]:
        asked = {
            name: bindparam(name, type_=type_)
            for name in names
            if (type_ := self._filter(name).type_) is not None
        }
        return self._where(select(func.count()).select_from(self._key.table), names, asked)

    def _page(self, shape: _Shape, asked: Asked) -> Select[Any]:
        """The items themselves, each with its sort value and id behind it."""
        value = self.sorts[shape.sort].expression(asked)
        columns = self._projection.columns(shape.fields)
        page = select(*columns, value.label("sort_value"), self._key.label("sort_id"))
        return self._cut(self._where(page, shape.filters, asked), shape, asked, value, self._key)

    def _keys(self, shape: _Shape, asked: Asked) -> Select[Any]:
        """Sort values and ids alone: rows that are skipped shall cost no more than those."""
        value = self.sorts[shape.sort].expression(asked)
        keys = select(value.label("sort_value"), self._key.label("sort_id"))
        return self._cut(self._where(keys, shape.filters, asked), shape, asked, value, self._key)

    def _windowed(self, shape: _Shape, asked: Asked) -> Select[Any]:
        """Sort values and ids out of the newest matches.

        The first page says where the window began (`floor`), and those that follow it look from
        there: so a row that stays can't fall out of a window that moves on with new rows.
        """
        sort = self.sorts[shape.sort]
        window = sort.window or 0
        matches = select(sort.expression(asked).label("sort_value"), self._key.label("sort_id"))
        matches = self._where(matches, shape.filters, asked)
        if shape.continues:
            floor = bindparam("floor", type_=BigInteger())
            # The first rows are those of the window; there is room for as many that were new.
            matches = matches.where(self._key >= floor).order_by(self._key.asc())
            window *= 2
        else:
            matches = matches.order_by(self._key.desc())
        newest = matches.limit(literal_column(str(window))).subquery("newest")
        value, key = newest.c.sort_value, newest.c.sort_id
        keys = select(value, key, func.min(key).over().label("floor"))
        return self._cut(keys, shape, asked, value, key)

    def _cut(
        self,
        rows: Select[Any],
        shape: _Shape,
        asked: Asked,
        value: ColumnElement[Any],
        key: ColumnElement[int],
    ) -> Select[Any]:
        sort = self.sorts[shape.sort]
        if shape.continues:
            end = tuple_(asked["after_value"], asked["after_id"])
            here = tuple_(value, key)
            rows = rows.where(here < end if sort.descending else here > end)
        rows = rows.order_by(*_directed(sort, value, key))
        if shape.skips:
            rows = rows.offset(bindparam("skipped", type_=Integer()))
        return rows.limit(literal_column(str(shape.limit + 1)))

    def _where(self, rows: Select[Any], names: Sequence[str], asked: Asked) -> Select[Any]:
        for name in names:
            filter_ = self._filter(name)
            rows = rows.where(filter_.condition(asked[name] if filter_.type_ else None))
        return rows

    def _joined(self, source: FromClause, keys: FromClause) -> FromClause:
        return source.join(self._key.table, self._key == keys.c.sort_id)

    def _filter(self, name: str) -> Filter:
        return self._filters[name.partition("__")[0]]

    def _asked_types(self, shape: _Shape) -> dict[str, TypeEngine[Any]]:
        types: dict[str, TypeEngine[Any]] = {"asked_number": Integer()}
        for name in shape.filters:
            type_ = self._filter(name).type_
            if type_ is not None:
                types[name] = type_
        if shape.continues:
            types |= {"after_value": self.sorts[shape.sort].type_, "after_id": BigInteger()}
        return types


def _directed(sort: SortKey, *columns: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [column.desc() if sort.descending else column.asc() for column in columns]


def _shape_of(ask: PageAsk) -> _Shape:
    limit = next(limit for limit in _LIMITS if ask.limit <= limit)
    names = tuple(name for name, _ in ask.filters)
    return _Shape(names, ask.sort, ask.after is not None, ask.skipped > 0, limit, ask.fields)


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
