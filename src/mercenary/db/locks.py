"""Rows that a transaction holds until it ends, locked in the order of their keys.

Declare a `Lock` in a feature's `queries.py`. Everybody locks in the same order, so nobody waits in
a circle; on a cluster, where a lock may bear on one shard only, the rows are locked one by one.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, bindparam, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.arrays import array_of, columns_of, rows_of
from mercenary.db.forms import PLAIN, Composed, Forms
from mercenary.db.topology import is_sharded


class Lock(Composed):
    """Locks what `rows` selects, by `key`: columns under the names of the parameters they become.

    `shared` keeps others from changing the rows, and not from holding them, too; `nameable` lets
    others store rows that refer to these; where it doesn't `wait`, what others hold is passed over.
    `order` stands in for the key's, where it isn't the key that is contended for.
    """

    def __init__(
        self,
        rows: Select[Any],
        *,
        shared: bool = False,
        nameable: bool = False,
        waits: bool = True,
        order: Sequence[ColumnElement[Any]] = (),
        **key: ColumnElement[Any],
    ) -> None:
        columns = tuple(key.values())
        if len(columns) == 1:
            keyed = rows.where(columns[0] == func.any(array_of("keys", columns[0].type)))
        else:
            asked = rows_of("asked", **{name: each.type for name, each in key.items()})
            keyed = rows.where(tuple_(*columns).in_(select(*asked.c)))
        self._names = tuple(key)
        self._composite = len(columns) > 1
        self._many = keyed.order_by(*(order or columns)).with_for_update(
            read=shared, key_share=nameable, skip_locked=not waits
        )
        self._one = rows.where(
            *(column == bindparam(name, type_=column.type) for name, column in key.items())
        ).with_for_update(read=shared, key_share=nameable, skip_locked=not waits)

    def forms(self, *, sharded: bool = False) -> Forms:
        """The statement for all rows together, on a cluster that for each."""
        return {PLAIN: self._one if sharded else self._many}

    async def hold(self, tx: AsyncConnection, keys: Iterable[Any]) -> Sequence[Row[Any]]:
        """Lock the rows of these keys, tuples where a key has several columns; what they hold.

        A row that had to be waited for is as others left it, but what is joined with it isn't.
        """
        ordered = sorted(set(keys))
        if not ordered:
            return []
        if is_sharded(tx):
            found: list[Row[Any]] = []
            for key in ordered:
                values = key if self._composite else (key,)
                found += await tx.execute(self._one, dict(zip(self._names, values, strict=True)))
            return found
        rows = columns_of("asked", self._names, ordered) if self._composite else {"keys": ordered}
        return list((await tx.execute(self._many, rows)).all())
