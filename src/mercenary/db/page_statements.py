"""The statements of a list: what the database is asked for a page or a search.

`pages.PageQuery` executes them. A list says here what it can be filtered and sorted by, and which
indexes stand behind that; the form of a statement follows from it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    Select,
    and_,
    any_,
    bindparam,
    func,
    literal_column,
    not_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.types import TypeEngine

from mercenary.db.arrays import rows_of
from mercenary.db.forms import named
from mercenary.db.projection import Fields, Projection

Item = TypeVar("Item", bound=msgspec.Struct)
Filters = tuple[tuple[str, Any], ...]
"""Sorted (name, value) pairs; of a name that counts more than once each has `__` and a number."""

WALKED_ROWS: Final = 4_000
"""How far a search walks along the list before it gathers its matches instead.

A walk of so many rows finds a page of 20 where one row in 200 matches. Where fewer do, there are
no more than 5,000 among a million to gather, so that neither way looks at many more rows than the
other: the square root of the page times the list is the least that both can be bounded by.
"""
SKIPPING_ROWS: Final = 100_000
"""The same for pages by number, of which the last lies 10,000 matches away."""
_SHAPES: Final = 256
ENDS: Final = ("sort_value", "sort_id")
"""The columns of a page's row by which it is sorted, under names that no field has."""


class Asked(Protocol):
    """The asked values by name: columns of rows, or parameters."""

    def __getitem__(self, name: str, /) -> ColumnElement[Any]:
        """The value, as a statement has it."""


class Filter(msgspec.Struct, frozen=True):
    """A condition on the asked value; `type_` None is a condition that takes no value.

    - `leads`: the sorts for which an index begins with the filter's `column` and goes on with the
      sort's, so that it leads to the page whatever the value.
    - `bounds`: the sorts by the very column that the filter bounds; `opens` is the one that begins
      at the bound. A page that continues is past it anyway, and of two conditions on where to
      begin, an index might begin at the wrong one.
    - `hides`: nearly every row passes.
    - `within`: the sorts for which an index holds the rows that pass and no others, so that a page
      need not walk past those that don't where they lie together.
    - `judges`: the condition for a row at hand, where it isn't the one that finds rows.
    """

    type_: TypeEngine[Any] | None
    condition: Callable[[Any], ColumnElement[bool]]
    column: ColumnElement[Any] | None = None
    leads: frozenset[str] = frozenset()
    bounds: frozenset[str] = frozenset()
    opens: str | None = None
    hides: bool = False
    within: frozenset[str] = frozenset()
    judges: Callable[[Any], ColumnElement[bool]] | None = None

    @classmethod
    def of(cls, column: Column[Any], *, leads: frozenset[str] = frozenset()) -> "Filter":
        """Rows with the asked value in a column."""
        return cls(column.type, lambda asked: column == asked, column=column, leads=leads)


class SortKey(msgspec.Struct, frozen=True):
    """What a list can be sorted by. The id breaks ties in the same direction.

    `expression` sees the asked values, since relevance depends on them; `python` is the type that
    a cursor's value is read back as. `ranks` is the filter without which there is nothing to sort
    by. A sort that no index serves has a `window`: no more than so many matches, those with the
    highest ids, are sorted and listed.
    """

    expression: Callable[[Asked], ColumnElement[Any]]
    type_: TypeEngine[Any]
    python: Any
    descending: bool = False
    ranks: str | None = None
    window: int | None = None


class Shape(msgspec.Struct, frozen=True):
    """What of a page's ask changes the statement's text."""

    filters: tuple[str, ...]
    sort: str
    continues: bool
    skips: bool
    limit: int
    fields: Fields


class Statements(Generic[Item]):
    """The statements of one list; each shape is composed once."""

    def __init__(
        self,
        name: str,
        projection: Projection[Item],
        key: Column[int],
        filters: Mapping[str, Filter],
        sorts: Mapping[str, SortKey],
    ) -> None:
        self._name = name
        self.sorts = sorts
        self.key = key
        self._projection = projection
        self._filters = filters
        self.keyed = lru_cache(maxsize=_SHAPES)(self._compose_keyed)
        """Many pages to which an index leads, for `rows_of("asked")`."""
        self.ends = lru_cache(maxsize=_SHAPES)(self._ends)
        """The columns of such a row that say where a page ends behind it: sort value and id."""
        self.search = lru_cache(maxsize=_SHAPES)(self._compose_search)
        """One page, for parameters."""
        self.plain = lru_cache(maxsize=_SHAPES)(self._compose_plain)
        """One page, for parameters, which each shard of a cluster finds its part of."""

    def is_search(self, names: Sequence[str], sort: str) -> bool:
        """Whether no index leads to the page whatever the values."""
        if self.sorts[sort].window is not None:
            return True
        ahead = self._ahead(names, sort)
        return any(name not in ahead for name in names if not self._filter(name).hides)

    def filtered(self, one_of: Collection[str] = ()) -> Iterator[tuple[str, ...]]:
        """No filter and each by itself, every time with those that hide rows and without.

        Where every ask has a filter that is `one_of` some, there is each of these as well.
        """
        hiding = tuple(name for name, each in self._filters.items() if each.hides)
        others = [(), *((name,) for name in self._filters if name not in hiding)]
        given: list[tuple[str, ...]] = [(name,) for name in one_of] or [()]
        for first, names, hidden in product(given, others, dict.fromkeys((hiding, ()))):
            yield tuple(sorted({*first, *names, *hidden}))

    def conditions(self, names: Sequence[str]) -> list[ColumnElement[bool]]:
        """What the filters of these names ask of a row, for parameters."""
        asked = {
            name: bindparam(name, type_=type_)
            for name in names
            if (type_ := self._filter(name).type_) is not None
        }
        return self._fits(names, asked)

    def _compose_keyed(self, shape: Shape) -> Select[Any]:
        sort = self.sorts[shape.sort]
        asked = rows_of("asked", **self._asked_types(shape))
        columns: Sequence[ColumnElement[Any]] = self._projection.columns(shape.fields)
        if shape.skips:
            # By sort values and ids alone: rows that are skipped shall cost no more than those.
            page = self._page(shape, asked.c, ()).correlate(asked).lateral("page")
            source = self._joined(asked.join(page, true()), page)
            columns = [*columns, *page.c]
        else:
            page = self._page(shape, asked.c, columns).lateral("page")
            source = asked.join(page, true())
            twice = {*ENDS} - {*self.ends(shape)}
            columns = [column for column in page.c if column.key not in twice]
        order = _directed(sort, page.c.sort_value, page.c.sort_id)
        pages = select(*columns, asked.c.asked_number).select_from(source)
        return named(self._name, pages.order_by(asked.c.asked_number, *order))

    def _ends(self, shape: Shape) -> tuple[str, str]:
        """Those that the items show, where they do.

        Sent and decoded a second time they took a tenth of what a page of projects costs.
        """
        if shape.skips:
            return ENDS
        shown = self._projection.columns(shape.fields)
        asked = rows_of("asked", **self._asked_types(shape))
        sorted_by = self.sorts[shape.sort].expression(asked.c)
        value, id = (
            column.key
            if isinstance(column, Column) and any(column is each for each in shown)
            else end
            for column, end in zip((sorted_by, self.key), ENDS, strict=True)
        )
        return value, id

    def _compose_search(self, shape: Shape) -> Select[Any]:
        sort = self.sorts[shape.sort]
        asked = {name: bindparam(name, type_=t) for name, t in self._asked_types(shape).items()}
        keys = (self._found if sort.window is None else self._windowed)(shape, asked)
        found = select(*self._projection.columns(shape.fields), *keys.c)
        found = found.select_from(self._joined(keys, keys))
        return named(
            self._name, found.order_by(*_directed(sort, keys.c.sort_value, keys.c.sort_id))
        )

    def _compose_plain(self, shape: Shape) -> Select[Any]:
        sort = self.sorts[shape.sort]
        if sort.window is not None:
            return self._compose_search(shape)
        asked = {name: bindparam(name, type_=t) for name, t in self._asked_types(shape).items()}
        value = sort.expression(asked)
        page = select(
            *self._projection.columns(shape.fields),
            value.label("sort_value"),
            self.key.label("sort_id"),
        ).where(*self._fits(self._needed(shape), asked))
        behind = self._behind(page, shape, asked, value, self.key)
        return named(self._name, self._cut(behind, shape, value, self.key))

    def _page(
        self, shape: Shape, asked: Asked, columns: Sequence[ColumnElement[Any]]
    ) -> Select[Any]:
        """A page to which an index leads: `columns`, and each row's sort value and id behind them.

        The planner doesn't know the values and can't tell that the index pays for a rare one, too.
        A list of one value is as good as the value to an index, but it isn't known to be the same
        for all rows; so the rows have an order by it, and that order only the index has.
        """
        sort = self.sorts[shape.sort]
        value = sort.expression(asked)
        names = self._needed(shape)
        page = select(*columns, value.label("sort_value"), self.key.label("sort_id"))
        for name in self._leading(names, shape.sort):
            if (column := self._filter(name).column) is not None:
                names.remove(name)
                page = page.where(column == any_(array([asked[name]])))
                page = page.order_by(*_directed(sort, column))
        page = page.where(*self._fits(names, asked))
        return self._cut(self._behind(page, shape, asked, value, self.key), shape, value, self.key)

    def _found(self, shape: Shape, asked: Asked) -> FromClause:
        """Sort values and ids of the matches: by a walk along the list or by gathering them all.

        Which of the two is cheap depends on how many match and on where in the list they are, and
        PostgreSQL's guess is off by orders of magnitude where filters have to do with each other.
        So the walk has an end: when it didn't fill the page, there are few to gather.
        """
        sort = self.sorts[shape.sort]
        value = sort.expression(asked)
        ahead = self._ahead(shape.filters, shape.sort)
        others = [name for name in shape.filters if name not in ahead]
        ahead = [name for name in ahead if name in self._needed(shape)]
        keys = select(value.label("sort_value"), self.key.label("sort_id"))

        fits = and_(true(), *self._fits(others, asked, judging=True))
        walk = keys.add_columns(fits.label("fits")).where(*self._fits(ahead, asked))
        walk = self._behind(walk, shape, asked, value, self.key)
        walk = walk.order_by(*_directed(sort, value, self.key))
        rows = SKIPPING_ROWS if shape.skips else WALKED_ROWS
        walked = walk.limit(literal_column(str(rows))).subquery("walked")
        near = select(walked.c.sort_value, walked.c.sort_id).where(walked.c.fits)
        page = self._cut(near, shape, walked.c.sort_value, walked.c.sort_id).cte("page")
        counted = select(func.count()).select_from(page).scalar_subquery()
        is_full = counted > literal_column(str(shape.limit))

        # OFFSET 0 keeps the planner from walking once more.
        every = keys.where(*self._fits(shape.filters, asked)).offset(literal_column("0"))
        matches = every.subquery("matches")
        place = matches.c.sort_value, matches.c.sort_id
        rest = self._behind(select(*place).where(not_(is_full)), shape, asked, *place)
        rest_page = self._cut(rest, shape, *place).subquery("rest")
        return union_all(select(page).where(is_full), select(rest_page)).subquery("keys")

    def _windowed(self, shape: Shape, asked: Asked) -> FromClause:
        """Sort values and ids out of the newest matches.

        The first page says where the window began (`floor`), and those that follow it look from
        there: so a row that stays can't fall out of a window that moves on with new rows.
        """
        sort = self.sorts[shape.sort]
        window = sort.window or 0
        matches = select(sort.expression(asked).label("sort_value"), self.key.label("sort_id"))
        matches = matches.where(*self._fits(shape.filters, asked))
        if shape.continues:
            floor = bindparam("floor", type_=BigInteger())
            # The first rows are those of the window; there is room for as many that were new.
            matches = matches.where(self.key >= floor).order_by(self.key.asc())
            window *= 2
        else:
            matches = matches.order_by(self.key.desc())
        newest = matches.limit(literal_column(str(window))).subquery("newest")
        value, key = newest.c.sort_value, newest.c.sort_id
        keys = select(value, key, func.min(key).over().label("floor"))
        return self._cut(self._behind(keys, shape, asked, value, key), shape, value, key).subquery(
            "keys"
        )

    def _behind(
        self,
        rows: Select[Any],
        shape: Shape,
        asked: Asked,
        value: ColumnElement[Any],
        key: ColumnElement[int],
    ) -> Select[Any]:
        """Those behind the end of the page before."""
        if not shape.continues:
            return rows
        end = tuple_(asked["after_value"], asked["after_id"])
        here = tuple_(value, key)
        return rows.where(here < end if self.sorts[shape.sort].descending else here > end)

    def _cut(
        self,
        rows: Select[Any],
        shape: Shape,
        value: ColumnElement[Any],
        key: ColumnElement[int],
    ) -> Select[Any]:
        """A page of them in order, and one more to tell whether others follow."""
        rows = rows.order_by(*_directed(self.sorts[shape.sort], value, key))
        if shape.skips:
            rows = rows.offset(bindparam("skipped", type_=Integer()))
        return rows.limit(literal_column(str(shape.limit + 1)))

    def _fits(
        self, names: Sequence[str], asked: Asked, *, judging: bool = False
    ) -> list[ColumnElement[bool]]:
        conditions = []
        for name in names:
            filter_ = self._filter(name)
            condition = (filter_.judges if judging else None) or filter_.condition
            conditions.append(condition(asked[name] if filter_.type_ else None))
        return conditions

    def _needed(self, shape: Shape) -> list[str]:
        """The filters that aren't implied by where the page begins."""
        return [
            name
            for name in shape.filters
            if not (shape.continues and self._filter(name).opens == shape.sort)
        ]

    def _ahead(self, names: Sequence[str], sort: str) -> list[str]:
        """The filters that an index applies ahead of the sort: its first column's, or the one that
        it is made for, and bounds."""
        bounds = [name for name in names if sort in self._filter(name).bounds]
        first = self._leading(names, sort)
        return (first or [name for name in names if sort in self._filter(name).within]) + bounds

    def _leading(self, names: Sequence[str], sort: str) -> list[str]:
        """The filter that leads; of several that could, the one that is declared first."""
        declared = (name for name, filter_ in self._filters.items() if sort in filter_.leads)
        return [name for name in declared if name in names][:1]

    def _joined(self, source: FromClause, keys: FromClause) -> FromClause:
        return source.join(self.key.table, self.key == keys.c.sort_id)

    def _filter(self, name: str) -> Filter:
        return self._filters[name.partition("__")[0]]

    def _asked_types(self, shape: Shape) -> dict[str, TypeEngine[Any]]:
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
