"""Parameters to explain a query with, drawn from the database itself.

What a parameter is compared with, or stored as, tells the column whose values it may have; values
of one table are drawn from the same rows. An id that is stored is one that nobody has.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Column,
    ColumnElement,
    Executable,
    FromClause,
    Insert,
    SelectBase,
    Table,
    Text,
    Tuple,
    Update,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import BinaryExpression, Grouping
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.sql.visitors import ExternallyTraversible, iterate

ROWS: Final = 8
"""How many values a list gets, if there are so many rows."""
# What no column has: bounds, times, and how the product calls them.
_BY_NAME: Final[Mapping[str, Any]] = {
    "after": 0,
    "floor": 0,
    "least": timedelta(0),
    "local": True,
    "milliseconds": "10000",
    "rows": 100,
    "seconds": 3600,
    "sequence": "projects_id_seq",
    "skipped": 980,
    "upto": 10_000,
}
_BY_TYPE: Final[Mapping[type, Any]] = {
    bool: True,
    bytes: b"",
    Decimal: Decimal("100.00"),
    float: 0.5,
    int: 1,
    str: "",
    timedelta: timedelta(hours=1),
}


class _Parameter(NamedTuple):
    name: str
    type_: type
    is_list: bool


Drawn = Mapping[str, Sequence[Any]]
"""Values for the parameters that have a column, by name; of one table those of a row each."""


async def from_rows(db: AsyncConnection, columns: Mapping[str, Column[Any]]) -> Drawn:
    """Values of the first rows that there are."""
    by_table: defaultdict[FromClause, dict[str, Column[Any]]] = defaultdict(dict)
    for name, column in columns.items():
        by_table[column.table][name] = column
    found: dict[str, Sequence[Any]] = {}
    for wanted in by_table.values():
        asked = select(*(_read(column).label(name) for name, column in wanted.items()))
        asked = asked.where(*(column.is_not(None) for column in wanted.values()))
        rows = (await db.execute(asked.limit(ROWS))).all()
        if rows:
            found |= {name: [getattr(row, name) for row in rows] for name in wanted}
    return found


async def examples(
    db: AsyncConnection,
    statement: Executable,
    draw: Callable[[AsyncConnection, Mapping[str, Column[Any]]], Awaitable[Drawn]] = from_rows,
) -> dict[str, Any]:
    """A value for each parameter of a statement that has none."""
    elements = list(iterate(statement))  # type: ignore[arg-type]
    parameters = _parameters(elements)
    columns = _columns(statement, elements, parameters)
    drawn = await draw(db, columns)
    count = min((len(values) for values in drawn.values()), default=1)
    found: dict[str, Any] = {}
    for each in parameters.values():
        values = drawn.get(each.name) or _numbered(each, count)
        stored = columns.get(each.name)
        if isinstance(statement, Insert) and stored is not None and _is_unique(stored):
            values = [_fresh(value) for value in values]
        found[each.name] = values[:count] if each.is_list else values[0]
    return found


def _parameters(elements: Iterable[ExternallyTraversible]) -> dict[str, _Parameter]:
    found = {}
    for each in elements:
        if isinstance(each, BindParameter) and each.value is None and each.required:
            is_list = isinstance(each.type, ARRAY)
            item = each.type.item_type if isinstance(each.type, ARRAY) else each.type
            try:
                type_ = item.python_type
            except NotImplementedError:
                type_ = int  # of text() that doesn't say
            found[each.key] = _Parameter(each.key, type_, is_list)
    return found


def _columns(
    statement: Executable,
    elements: Iterable[ExternallyTraversible],
    parameters: Mapping[str, _Parameter],
) -> dict[str, Column[Any]]:
    """The column that each parameter may have its value from."""
    found: dict[str, Column[Any]] = {}
    pairs = [
        pair
        for each in elements
        if isinstance(each, BinaryExpression)
        for one, other in zip(_parts(each.left), _parts(each.right), strict=False)
        for pair in ((one, other), (other, one))
    ]
    for named, valued in pairs:
        for name, column in zip(_names(named), _table_columns(valued), strict=False):
            found.setdefault(name, column)
    table = statement.table if isinstance(statement, Insert | Update) else None
    if isinstance(table, Table):
        for name in parameters:
            column = table.columns.get(name.partition("_")[2])
            if column is not None:
                found.setdefault(name, column)
    return {
        name: column
        for name, column in found.items()
        if name in parameters and _type_of(column) is parameters[name].type_
    }


def _parts(expression: Any) -> Sequence[Any]:
    """What is compared one with the other where rows are."""
    match expression:
        case Grouping():
            return _parts(expression.element)
        case Tuple():
            return list(expression.clauses)
        case SelectBase():
            return list(expression.selected_columns)
        case _:
            return [expression]


def _names(expression: Any) -> Iterator[str]:
    """The parameters in an expression; a column of rows of parameters is one of them."""
    for each in iterate(expression):
        if isinstance(each, BindParameter):
            yield each.key
        elif isinstance(getattr(each, "table", None), TableValuedAlias):
            yield f"{each.table.name}_{each.key}"  # type: ignore[attr-defined]


def _table_columns(expression: Any) -> Iterator[Column[Any]]:
    for each in iterate(expression):
        if isinstance(each, Column) and isinstance(each.table, Table):
            yield each


def _read(column: Column[Any]) -> ColumnElement[Any]:
    """A value to look for: of text that is searched, a word."""
    if isinstance(column.type, TSVECTOR):
        words = func.array_to_string(func.tsvector_to_array(column), " ")
        return func.split_part(words, " ", 1, type_=Text())
    return column


def _type_of(column: Column[Any]) -> type:
    return str if isinstance(column.type, TSVECTOR) else column.type.python_type


def _is_unique(column: Column[Any]) -> bool:
    return (column.primary_key and not column.foreign_keys) or column.name == "email"


def _fresh(value: Any) -> Any:
    match value:
        case int():
            return -value
        case bytes():
            return value[::-1]
        case _:
            return f"new.{value}"


def _numbered(parameter: _Parameter, count: int) -> Sequence[Any]:
    """Values that no column has told: one, as often as it takes, or numbers from 0 on."""
    name, type_, _ = parameter
    if type_ is int and name.endswith(("number", "lock")):
        return list(range(count))
    for known in (name, name.rpartition("_")[2]):
        if known in _BY_NAME:
            return [type_(_BY_NAME[known]) if type_ is float else _BY_NAME[known]] * count
    if type_ in (datetime, date):
        now = datetime.now(UTC)
        return [now if type_ is datetime else now.date()] * count
    return [_BY_TYPE[type_]] * count
