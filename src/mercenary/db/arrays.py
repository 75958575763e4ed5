"""Many rows as one parameter a column, so that a statement's text never depends on their number.

One text means one prepared statement and one plan for a batch of 1 and of 256.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import BindParameter, Dialect, Function, Select, bindparam, column, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import NullType, TypeEngine


class _List(ARRAY[Any]):
    """An array that is handed to the driver as it is.

    SQLAlchemy's own walks every item to convert it. The items of ours never need that, and with 64
    of them the walk took as long as sending the statement.
    """

    def bind_processor(self, dialect: Dialect) -> None:
        """None: nothing is to be done to a value."""


def array_of(name: str, type_: TypeEngine[Any]) -> BindParameter[Any]:
    """A parameter that takes a list, for `= ANY(:name)`."""
    return bindparam(name, type_=_List(type_))


def list_of(query: Select[Any]) -> Function[Any]:
    """`ARRAY(query)`: what a correlated query finds, as a list in a column.

    It has no type for SQLAlchemy, which would copy each list item by item; the driver's own is
    what is wanted already. Of a page of 20 that copying was a tenth of the time.
    """
    return func.array(query.scalar_subquery(), type_=NullType())


def rows_of(alias: str, **columns: TypeEngine[Any]) -> TableValuedAlias:
    """`unnest(:a, :b) AS alias(a, b)`: rows from parameters, one list each, all of one length."""
    parameters = [array_of(f"{alias}_{name}", type_) for name, type_ in columns.items()]
    typed = [column(name, type_) for name, type_ in columns.items()]
    return func.unnest(*parameters).table_valued(*typed).render_derived(name=alias)


def columns_of(alias: str, names: Iterable[str], rows: Iterable[Iterable[Any]]) -> dict[str, Any]:
    """The parameters for `rows_of`: rows turned into one list a column."""
    names = list(names)
    lists = [list(values) for values in zip(*rows, strict=True)] or [[] for _ in names]
    return {f"{alias}_{name}": values for name, values in zip(names, lists, strict=True)}
