"""What index might help a statement, by what its plan shows, and what it does where that is tried.

Use it on an executed plan (`plans.explain`).
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.plans import EXECUTED, Node, Plan, literal, planned


class Advice(msgspec.Struct, frozen=True):
    """An index that might help, and the statement's time without and with it, where it was tried.

    `untried` is why it wasn't.
    """

    index: str
    reason: str
    before_ms: float
    after_ms: float | None
    untried: str | None


# What an index can look up: a column compared with something that isn't of the same row.
_COMPARED: Final = re.compile(r"\((?:\w+\.)?(\w+) (=|<=|>=|<|>) (?:'[^']*'|\$\d+|[\d.]+|ANY )")
# Within these a comparison alone doesn't say whether a row is wanted.
_ALTERNATIVES: Final = re.compile(r"\b(OR|NOT|CASE|SubPlan)\b")
_SORTED_BY: Final = re.compile(r"(?:\w+\.)?(?P<column>\w+)(?P<direction>[A-Z ]*)")
# What a sort's rows may pass through on their way from the table.
_PASSING_ON: Final = ("Gather", "Gather Merge", "Incremental Sort", "Result", "Sort")
LEAST_REMOVED: Final = 1_000
"""Rows that are read or sorted in vain before an index is worth looking for."""
LEAST_SHARE: Final = 0.9
"""The share of rows read in vain: reading most of a table is quicker without an index."""
LARGEST_TRIED: Final = 64 * 1024 * 1024
"""Bytes of a table on which an index is made to see what it does: no more than a second's work."""
LONGEST_TRIED: Final = 1_000.0
"""Milliseconds of a statement that is executed once more while nobody can write to the table."""
_TABLE: Final = text("""
SELECT c.oid::regclass::text,
       pg_table_size(c.oid) AS size,
       pg_has_role(c.relowner, 'USAGE') AS is_ours,
       current_setting('transaction_read_only') = 'on' AS read_only,
       ARRAY(SELECT attname::text FROM pg_attribute
             WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns
FROM pg_class c
WHERE c.oid = to_regclass(quote_ident(:name)) AND c.relkind IN ('r', 'm')
  AND c.relnamespace <> 'pg_catalog'::regnamespace
""")
_BRIEFLY: Final = ("SET LOCAL lock_timeout = '100ms'", "SET LOCAL statement_timeout = '2s'")


class Wish(msgspec.Struct, frozen=True):
    """What an index on a table should lead to: rows by equal columns, then a range or an order."""

    table: str
    reason: str
    equal: Sequence[str]
    ranged: Sequence[str] = ()
    order: Sequence[str] = ()

    def columns(self, known: Sequence[str]) -> list[str]:
        """The index's columns; none where the table hasn't all that the order is by."""
        if not all(each.split()[0] in known for each in self.order):
            return []
        equal = [each for each in self.equal if each in known]
        ranged = [each for each in self.ranged if each in known]
        return list(dict.fromkeys([*equal, *(self.order or ranged[:1])]))


async def advise(
    db: AsyncConnection, statement: str, parameters: Sequence[Any], plan: Plan
) -> Sequence[Advice]:
    """Indexes for what an executed plan reads or sorts in vain, each tried where that is quick.

    It is made within a transaction that is rolled back, under which nobody can write to the table:
    for a few seconds at most.
    """
    advice: dict[str, Advice] = {}
    for wish in wishes(plan):
        table = (await db.execute(_TABLE, {"name": wish.table})).one_or_none()
        await db.rollback()
        columns = [] if table is None else wish.columns(table.columns)
        if table is None or not columns:
            continue
        index = f"CREATE INDEX ON {table[0]} ({', '.join(columns)})"
        if index in advice:
            continue
        after, untried = None, _hindrance(table, index, plan)
        if untried is None:
            after, untried = await _tried(db, index, statement, parameters)
        before = plan.execution_ms or 0.0
        advice[index] = Advice(index, wish.reason, before, after, untried)
    return list(advice.values())


def wishes(plan: Plan) -> Iterator[Wish]:
    """What the plan's steps would have had an index for."""
    for node in plan.root.walk():
        if (wish := _of_filter(node)) or (wish := _of_sort(node)):
            yield wish


def _of_filter(node: Node) -> Wish | None:
    """Where a step throws nearly all away that it reads."""
    told = node.details.get("Filter", "")
    selects = node.removed >= max(LEAST_REMOVED, LEAST_SHARE * (node.removed + node.rows))
    if node.table is None or not selects or _ALTERNATIVES.search(told):
        return None
    compared = _COMPARED.findall(told)
    return Wish(
        node.table,
        f"{node.kind} on {node.on} read {node.removed:,.0f} rows in vain",
        equal=[column for column, sign in compared if sign == "="],
        ranged=[column for column, sign in compared if sign != "="],
    )


def _of_sort(node: Node) -> Wish | None:
    """Where a sort is handed many rows of one table, and few are wanted or it takes to the disk."""
    if node.kind != "Sort" or len(node.below) != 1:
        return None
    source = node.below[0]
    handed = source.rows
    while source.table is None and source.kind in _PASSING_ON and len(source.below) == 1:
        source = source.below[0]
    wanted = node.rows <= (1 - LEAST_SHARE) * handed
    keys = [_SORTED_BY.fullmatch(key) for key in node.details.get("Sort Key", "").split(", ")]
    parts = [(key["column"], key["direction"]) for key in keys if key is not None]
    if source.table is None or handed < LEAST_REMOVED or len(parts) < len(keys):
        return None
    if not (wanted or node.spilled):
        return None
    # An index is read from either end, so that only what differs has to be said.
    alike = len({direction for _, direction in parts}) == 1 and "NULLS" not in parts[0][1]
    told = [source.details.get(name, "") for name in ("Index Cond", "Filter")]
    compared = [_COMPARED.findall(each) for each in told if not _ALTERNATIVES.search(each)]
    return Wish(
        source.table,
        f"Sort was handed {handed:,.0f} rows of {source.table} for {node.rows:,.0f}"
        + (f", and spilled {node.spilled:,} blocks" if node.spilled else ""),
        equal=[column for found in compared for column, sign in found if sign == "="],
        order=[column if alike else column + direction for column, direction in parts],
    )


def _hindrance(table: Row[Any], index: str, plan: Plan) -> str | None:
    if table.size > LARGEST_TRIED:
        return (
            f"the table has more than {LARGEST_TRIED >> 20} MiB; where the extension hypopg is, "
            f"SELECT hypopg_create_index({literal(index)}) lets EXPLAIN plan with it unmade"
        )
    if plan.execution_ms is None or plan.execution_ms > LONGEST_TRIED:
        return "the statement takes too long to keep others from writing"
    if table.read_only:
        return "the server only reads"
    return None if table.is_ours else "the table is another role's"


async def _tried(
    db: AsyncConnection, index: str, statement: str, parameters: Sequence[Any]
) -> tuple[float | None, str | None]:
    try:
        async with db.begin() as transaction:
            for setting in _BRIEFLY:
                await db.exec_driver_sql(setting)
            await db.exec_driver_sql(index)
            after = (await planned(db, EXECUTED, statement, parameters)).execution_ms
            await transaction.rollback()
    except DBAPIError as error:
        return None, str(error.orig)
    return after, None
