"""UPDATEs and DELETEs that are joined with rows of parameters.

Declare a `Changes` in a feature's `queries.py`. A cluster would send such a join to every shard, if
it took it at all, so there each row goes by itself, in a statement that names its shard.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import BindParameter, Delete, Row, Update, bindparam
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.sql.visitors import ExternallyTraversible, replacement_traverse

from mercenary.db.arrays import columns_of
from mercenary.db.forms import PLAIN, Composed, Forms
from mercenary.db.topology import is_sharded


class Changes(Composed):
    """A statement that is joined with `rows`, and the same for one row.

    `one` stands in for the latter where it is more than the join with a parameter for each column.
    """

    def __init__(
        self,
        statement: Update | Delete,
        rows: TableValuedAlias,
        *,
        one: Update | Delete | None = None,
    ) -> None:
        self._many = statement
        self._names = tuple(rows.c.keys())
        self._alias = rows.name
        self._one = one if one is not None else _for_one(statement, rows)

    def forms(self, *, sharded: bool = False) -> Forms:
        """The statement for all rows together, on a cluster that for each."""
        return {PLAIN: self._one if sharded else self._many}

    async def store(
        self, tx: AsyncConnection, each: Iterable[Iterable[Any]], /, **further: Any
    ) -> Sequence[Row[Any]]:
        """Change what goes with each row of values; what RETURNING gives, in no order.

        `further` are parameters besides those.
        """
        if not is_sharded(tx):
            asked = columns_of(self._alias, self._names, each) | further
            changed = await tx.execute(self._many, asked)
            return changed.all() if changed.returns_rows else []
        returned: list[Row[Any]] = []
        for row in each:
            values = zip(self._names, row, strict=True)
            asked = {f"{self._alias}_{name}": value for name, value in values} | further
            changed = await tx.execute(self._one, asked)
            returned += changed.all() if changed.returns_rows else []
        return returned


def _for_one(statement: Update | Delete, rows: TableValuedAlias) -> Update | Delete:
    """The statement with a parameter in the place of each column of `rows`."""

    def parameter(element: ExternallyTraversible, **_: object) -> BindParameter[Any] | None:
        if getattr(element, "table", None) is not rows:
            return None
        column = rows.c[element.key]  # type: ignore[attr-defined]
        return bindparam(f"{rows.name}_{column.key}", type_=column.type)

    return cast("Update | Delete", replacement_traverse(statement, {}, parameter))
