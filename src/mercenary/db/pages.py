"""Pages of lists by key, many pages a statement.

A page is found by where the last one ended (`(sort value, id) > (…)`), never by counting rows, so
page 10,000 costs what page 1 costs. Pages that are asked for together and have the same shape
(the same filters and sort, whatever their values) become one statement: the asked values are
rows of an `unnest`, and a LATERAL subquery reads one page for each.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    Label,
    Row,
    Select,
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.types import TypeEngine

from mercenary.db.arrays import columns_of, rows_of

Item = TypeVar("Item")
Asked = ReadOnlyColumnCollection[str, Any]

# LIMIT is written into the statement, for the planner's sake; two values keep the shapes few.
_LIMITS = (20, 100)


class PageAsk(msgspec.Struct, frozen=True):
    """One page: filters as sorted (name, value) pairs, and where the page before it ended."""

    filters: tuple[tuple[str, Any], ...]
    sort: str
    after: tuple[Any, int] | None
    limit: int


class Slice(msgspec.Struct, Generic[Item], frozen=True):
    """The items of a page, and the (sort value, id) of its last one if more follow."""

    items: Sequence[Item]
    last: tuple[Any, int] | None


class Filter(msgspec.Struct, frozen=True):
    """A condition on the asked value; `type_` None is a condition that takes no value."""

    type_: TypeEngine[Any] | None
    condition: Callable[[Any], ColumnElement[bool]]


class SortKey(msgspec.Struct, frozen=True):
    """What a list can be sorted by. The id breaks ties in the same direction.

    `expression` sees the asked values, since relevance depends on them; `python` is the type that
    a cursor's value is read back as.
    """

    expression: Callable[[Asked], ColumnElement[Any]]
    type_: TypeEngine[Any]
    python: Any
    descending: bool = False


class _Shape(msgspec.Struct, frozen=True):
    """What of a page's ask changes the statement's text."""

    filters: tuple[str, ...]
    sort: str
    continues: bool
    limit: int


class PageQuery(Generic[Item]):
    """The pages of one table, read as `Item`s. Use it as the function of a `read_batch`.

    `build` gets a row's `columns` in their order, and more behind them.
    """

    def __init__(
        self,
        name: str,
        *,
        columns: Sequence[ColumnElement[Any]],
        key: Column[int],
        filters: Mapping[str, Filter],
        sorts: Mapping[str, SortKey],
        build: Callable[[Sequence[Any]], Item],
    ) -> None:
        self.__name__ = name
        self.sorts = sorts
        self._columns = columns
        self._key = key
        self._filters = filters
        self._build = build
        self._statement = lru_cache(maxsize=256)(self._compose)

    async def __call__(
        self, db: AsyncConnection, asks: Sequence[PageAsk]
    ) -> Mapping[PageAsk, Slice[Item]]:
        """Read every asked page, one statement a shape."""
        shapes: defaultdict[_Shape, list[PageAsk]] = defaultdict(list)
        for ask in asks:
            shapes[_shape_of(ask)].append(ask)
        pages: dict[PageAsk, Slice[Item]] = {}
        for shape, alike in shapes.items():
            rows: list[list[Row[Any]]] = [[] for _ in alike]
            found = await db.execute(self._statement(shape), _parameters(shape, alike))
            for row in found.all():
                rows[row.asked_number].append(row)
            for ask, its_rows in zip(alike, rows, strict=True):
                pages[ask] = self._slice(its_rows, ask.limit)
        return pages

    def statement(self, ask: PageAsk) -> tuple[Select[Any], dict[str, Any]]:
        """The statement and parameters that one ask becomes: for EXPLAIN."""
        shape = _shape_of(ask)
        return self._statement(shape), _parameters(shape, [ask])

    def _slice(self, rows: list[Row[Any]], limit: int) -> Slice[Item]:
        kept = rows[:limit]
        last = (kept[-1].sort_value, kept[-1].sort_id) if len(rows) > limit else None
        return Slice([self._build(row[1:]) for row in kept], last)

    def _compose(self, shape: _Shape) -> Select[Any]:
        sort = self.sorts[shape.sort]
        asked = rows_of("asked", **self._asked_types(shape))
        value: Label[Any] = sort.expression(asked.c).label("sort_value")
        key: Label[int] = self._key.label("sort_id")
        page = select(*self._columns, value, key)
        for name in shape.filters:
            filter_ = self._filters[name.partition("__")[0]]
            page = page.where(filter_.condition(asked.c[name] if filter_.type_ else None))
        if shape.continues:
            end = tuple_(asked.c.after_value, asked.c.after_id)
            here = tuple_(sort.expression(asked.c), self._key)
            page = page.where(here < end if sort.descending else here > end)
        page = page.order_by(*_directed(sort, sort.expression(asked.c), self._key))
        lateral = page.limit(literal_column(str(shape.limit + 1))).lateral("page")
        return (
            select(asked.c.asked_number, *lateral.c)
            .select_from(asked.join(lateral, true()))
            .order_by(
                asked.c.asked_number, *_directed(sort, lateral.c.sort_value, lateral.c.sort_id)
            )
        )

    def _asked_types(self, shape: _Shape) -> dict[str, TypeEngine[Any]]:
        types: dict[str, TypeEngine[Any]] = {"asked_number": Integer()}
        for name in shape.filters:
            type_ = self._filters[name.partition("__")[0]].type_
            if type_ is not None:
                types[name] = type_
        if shape.continues:
            types |= {"after_value": self.sorts[shape.sort].type_, "after_id": BigInteger()}
        return types


def _directed(sort: SortKey, *columns: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [column.desc() if sort.descending else column.asc() for column in columns]


def _shape_of(ask: PageAsk) -> _Shape:
    limit = next(limit for limit in _LIMITS if ask.limit <= limit)
    return _Shape(tuple(name for name, _ in ask.filters), ask.sort, ask.after is not None, limit)


def _parameters(shape: _Shape, asks: Sequence[PageAsk]) -> dict[str, Any]:
    named = [
        {"asked_number": number}
        | {name: value for name, value in ask.filters if value is not None}
        | (
            {"after_value": ask.after[0], "after_id": ask.after[1]}
            if shape.continues and ask.after is not None
            else {}
        )
        for number, ask in enumerate(asks)
    ]
    return columns_of("asked", named[0], (row.values() for row in named))
