"""Counts of lists: how many rows pass the filters in all, and by the values of their facets.

Declare a list's facets beside its filters (`pages.PageQuery`). What a facet says of a value is how
long the list would be if that value were chosen: in place of the one that is asked for where the
filter takes one value alone (`Facet.chosen_by`), and besides those where it takes several.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Executable,
    Row,
    Select,
    Text,
    cast,
    func,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import Column
from sqlalchemy.sql.selectable import FromClause

from mercenary.db.forms import Composed, Forms, named
from mercenary.db.page_statements import Filters, Statements

VALUES: Final = 20
"""Of each facet so many values are told, those of the most rows."""
# Sets of filters whose statements are kept composed.
_SHAPES: Final = 64


class FacetCount(msgspec.Struct, frozen=True):
    """How many rows a list has with a value."""

    example: ClassVar[dict[str, Any]] = {"value": "open", "count": 13_829}

    value: str | int
    count: int


Facets = dict[str, list[FacetCount]]
"""By the facet's name, the values of the most rows first."""


class Facet(msgspec.Struct, frozen=True):
    """What rows are counted by. Rows without a value aren't.

    - `chosen_by`: the filter that asks for one of the values, which these counts leave out.
    - `owner`: where the values stand in a table of their own, of which a row has many: the column
      there that names the row.
    """

    column: Column[Any]
    chosen_by: str | None = None
    owner: Column[int] | None = None


class CountAsk(msgspec.Struct, frozen=True):
    """The rows that pass the filters: all of them together, or each facet's values."""

    filters: Filters
    by_value: bool = False


class Counts(msgspec.Struct, frozen=True):
    """What was counted, whichever of the two was asked for."""

    total: int = 0
    facets: Facets = {}


class CountQuery(Composed):
    """The counts of one table's lists. Use it as the function of a `read_batch`."""

    def __init__(
        self,
        name: str,
        statements: Statements[Any],
        facets: Mapping[str, Facet],
        one_of: Collection[str] = (),
    ) -> None:
        self.__name__ = name
        self.facets = facets
        self._statements = statements
        self._one_of = one_of
        self._total = lru_cache(maxsize=_SHAPES)(self._compose_total)
        self._by_value = lru_cache(maxsize=_SHAPES)(self._compose_by_value)

    async def __call__(
        self, db: AsyncConnection, asks: Sequence[CountAsk]
    ) -> Mapping[CountAsk, Counts]:
        """Count one by one, each planned for its values."""
        found: dict[CountAsk, Counts] = {}
        for ask in asks:
            counted = await db.execute(*self.statement(ask))
            if ask.by_value:
                found[ask] = Counts(facets=self._facets_of(counted.all()))
            else:
                found[ask] = Counts(total=counted.scalar_one())
        return found

    def statement(self, ask: CountAsk) -> tuple[Select[Any] | CompoundSelect[Any], dict[str, Any]]:
        """The statement and parameters that one ask becomes."""
        names = tuple(name for name, _ in ask.filters)
        values = {name: value for name, value in ask.filters if value is not None}
        return (self._by_value if ask.by_value else self._total)(names), values

    def forms(self, *, sharded: bool = False) -> Forms:
        """The statements for no filter and for each, with and without those that hide rows."""
        del sharded
        found: dict[str, Executable] = {}
        for names in self._statements.filtered(self._one_of):
            asked = ",".join(names)
            found[f"total?{asked}"] = self._total(names)
            if self.facets:
                found[f"facets?{asked}"] = self._by_value(names)
        return found

    def _compose_total(self, names: tuple[str, ...]) -> Select[Any]:
        counted = select(func.count()).select_from(self._statements.key.table)
        return named(self.__name__, counted.where(*self._statements.conditions(names)))

    def _compose_by_value(self, names: tuple[str, ...]) -> CompoundSelect[Any]:
        """One statement for all facets: rows of a facet's name, a value as text, and the count.

        Each facet counts by itself, since each has other filters. Where an index holds these and
        the facet's column, it is all that is read. To gather the matches once for all facets took
        twice as long with no filter, and as long with a common word, on a million projects.
        """
        counted = (self._counted(name, facet, names) for name, facet in self.facets.items())
        return named(self.__name__, union_all(*counted))

    def _counted(self, name: str, facet: Facet, names: Sequence[str]) -> Select[Any]:
        kept = [each for each in names if each != facet.chosen_by]
        rows = func.count()
        told: list[ColumnElement[Any]] = [
            literal_column(f"'{name}'").label("facet"),
            cast(facet.column, Text).label("value"),
            rows.label("rows"),
        ]
        source: FromClause = self._statements.key.table
        if facet.owner is not None:
            source = facet.owner.table.join(source, facet.owner == self._statements.key)
        return (
            select(*told)
            .select_from(source)
            .where(facet.column.is_not(None), *self._statements.conditions(kept))
            .group_by(facet.column)
            .order_by(rows.desc(), facet.column)
            .limit(literal_column(str(VALUES)))
        )

    def _facets_of(self, rows: Iterable[Row[Any]]) -> Facets:
        """What the rows tell. They come in no order that could be relied on."""
        found: dict[str, list[FacetCount]] = {name: [] for name in self.facets}
        for row in rows:
            kind = self.facets[row.facet].column.type.python_type
            found[row.facet].append(FacetCount(kind(row.value), row.rows))
        return {
            name: sorted(counts, key=lambda each: (-each.count, each.value))
            for name, counts in found.items()
        }
