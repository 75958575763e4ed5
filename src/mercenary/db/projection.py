"""Which columns stand behind a resource's fields, and how a row becomes the resource.

Declare one `Projection` a resource in its `queries.py`; what reads the resource, whole or in part,
by id (`KeyQuery`) or as a list (`pages.PageQuery`), takes its columns and builds its items by it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import UNSET
from sqlalchemy import BigInteger, Column, ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.arrays import array_of
from mercenary.db.forms import PLAIN, Composed, Forms, named

Item = TypeVar("Item", bound=msgspec.Struct)
Id = TypeVar("Id", bound=int)
Fields = tuple[str, ...] | None
"""Names of a resource's fields, each once and in the resource's order; None stands for all."""
Key = tuple[int, Fields]
"""What a `KeyQuery` is asked for: an id, and how much of the resource."""

# Which resource it is, and which state of it: what a representation of any part is known by.
IDENTITY: Final = ("id", "version")
# Callers choose the fields, so the shapes that are kept need a bound.
_SHAPES: Final = 256


class Projection(Generic[Item]):
    """The columns of a resource in the order of its type's fields, `id` first.

    `converts` says how a column's value becomes the field's. A part is an item, too: in the fields
    that weren't read it holds `msgspec.UNSET`, whatever their type says, so only those that were
    asked for or are always read may be looked at.
    """

    def __init__(
        self,
        type_: type[Item],
        columns: Mapping[str, ColumnElement[Any]],
        *,
        converts: Mapping[str, Callable[[Any], Any]] = MappingProxyType({}),
    ) -> None:
        if tuple(columns) != type_.__struct_fields__ or next(iter(columns)) != "id":
            raise TypeError(f"the columns aren't the fields of {type_.__name__}")
        self._type = type_
        self._columns = columns
        self._converts = converts
        self.build = self._builder(tuple(columns))
        """Makes a whole item of a row that begins with all the columns."""

    def replaced(self, **columns: ColumnElement[Any]) -> "Projection[Item]":
        """The same resource with other columns behind some of its fields."""
        return Projection(self._type, {**self._columns, **columns}, converts=self._converts)

    def columns(
        self, fields: Fields, always: Iterable[str] = IDENTITY
    ) -> tuple[ColumnElement[Any], ...]:
        """What to select for these fields, and for those that are always needed."""
        return tuple(self._columns[name] for name in self._read(fields, always))

    def builder(
        self, fields: Fields, always: Iterable[str] = IDENTITY
    ) -> Callable[[Sequence[Any]], Item]:
        """Makes an item of a row that begins with `columns(fields, always)`."""
        return self.build if fields is None else self._builder(self._read(fields, always))

    def _read(self, fields: Fields, always: Iterable[str]) -> tuple[str, ...]:
        if fields is None:
            return tuple(self._columns)
        read = {*fields, *always}
        return tuple(name for name in self._columns if name in read)

    def _builder(self, read: tuple[str, ...]) -> Callable[[Sequence[Any]], Item]:
        type_, count = self._type, len(read)
        converts = [
            (place, self._converts[name])
            for place, name in enumerate(read)
            if name in self._converts
        ]

        def as_it_is(row: Sequence[Any]) -> Item:
            return type_(*row[:count])

        def whole(row: Sequence[Any]) -> Item:
            values = list(row[:count])
            for place, convert in converts:
                values[place] = convert(values[place])
            return type_(*values)

        if count == len(self._columns):
            return whole if converts else as_it_is
        # Behind the values that were read stands the one of all fields that weren't.
        pick = itemgetter(*(read.index(name) if name in read else count for name in self._columns))

        def part(row: Sequence[Any]) -> Item:
            values = [*row[:count], UNSET]
            for place, convert in converts:
                values[place] = convert(values[place])
            return type_(*pick(values))

        return part


class KeyQuery(Composed, Generic[Item]):
    """Resources by id, as far as each ask wants them. Use it as the function of a `read_batch`.

    Asks for the same fields become one statement. `always` are the fields that the rules look at,
    whatever was asked for; `condition` hides rows.
    """

    def __init__(
        self,
        name: str,
        projection: Projection[Item],
        key: Column[int],
        *,
        always: Iterable[str] = (),
        condition: ColumnElement[bool] | None = None,
    ) -> None:
        self.__name__ = name
        self._projection = projection
        self._always = (*IDENTITY, *always)
        self._where = key == func.any(array_of("ids", BigInteger()))
        if condition is not None:
            self._where &= condition
        self._shape = lru_cache(maxsize=_SHAPES)(self._compose)

    async def __call__(self, db: AsyncConnection, keys: Sequence[Key]) -> Mapping[Key, Item]:
        """Read what was asked for and is there."""
        asked: dict[Fields, list[int]] = {}
        for id, fields in keys:
            asked.setdefault(fields, []).append(id)
        found: dict[Key, Item] = {}
        for fields, ids in asked.items():
            statement, build = self._shape(fields)
            for row in (await db.execute(statement, {"ids": ids})).all():
                found[row[0], fields] = build(row)
        return found

    def forms(self, *, sharded: bool = False) -> Forms:
        """The statement for whole resources; one for some fields is like it."""
        del sharded
        return {PLAIN: self._shape(None)[0]}

    async def whole(self, db: AsyncConnection, ids: Sequence[Id]) -> dict[Id, Item]:
        """Whole resources by id."""
        found = await self(db, [(id, None) for id in ids])
        return {id: found[id, None] for id in ids if (id, None) in found}

    def _compose(self, fields: Fields) -> tuple[Select[Any], Callable[[Sequence[Any]], Item]]:
        columns = self._projection.columns(fields, self._always)
        build = self._projection.builder(fields, self._always)
        return named(self.__name__, select(*columns).where(self._where)), build
