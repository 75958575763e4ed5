"""What PostgreSQL did for a statement: its plan, executed, timed and counted.

`explain` executes a statement within a transaction that is rolled back, and reads the plan as a
tree of `Node`s. What a node took itself is what it took in all without what those below it took.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Fields of EXPLAIN's JSON that say what a node looks for, in the order in which people read them.
_DETAILS: Final = (
    *("Index Cond", "Recheck Cond", "Filter", "Join Filter", "Hash Cond", "Merge Cond"),
    *("Sort Key", "Group Key", "Function Name", "CTE Name", "Subplan Name"),
)
_REMOVED: Final = (
    "Rows Removed by Filter",
    "Rows Removed by Join Filter",
    "Rows Removed by Index Recheck",
)


class Node(msgspec.Struct, frozen=True):
    """A step of a plan. Rows are of all its loops together, times milliseconds, blocks of 8 KiB.

    `on` is the table or index it reads. `estimated` is what the planner took `rows` to be,
    `removed` what it read and threw away, `spilled` what it wrote to temporary files in blocks.
    """

    kind: str
    on: str | None
    table: str | None
    details: dict[str, str]
    loops: int
    rows: float
    estimated: float
    removed: float
    total_ms: float
    self_ms: float
    hit: int
    read: int
    spilled: int
    below: Sequence["Node"]

    def walk(self) -> Iterator["Node"]:
        """The node and all below it, from the top."""
        yield self
        for node in self.below:
            yield from node.walk()


class Plan(msgspec.Struct, frozen=True):
    """An executed plan; times are milliseconds. `settings` are those that differ from defaults."""

    root: Node
    planning_ms: float
    execution_ms: float
    settings: dict[str, str]

    @property
    def costliest(self) -> Node:
        """The node that took most time itself."""
        return max(self.root.walk(), key=lambda node: node.self_ms)


class Advice(msgspec.Struct, frozen=True):
    """An index that might help, and the statement's time without and with it, where it was tried.

    `untried` is why it wasn't.
    """

    index: str
    reason: str
    before_ms: float
    after_ms: float | None
    untried: str | None


async def explain(db: AsyncConnection, statement: str, parameters: Sequence[Any] = ()) -> Plan:
    """Execute a statement and roll it back. Sequences that it draws from stay drawn from.

    `parameters` stand for `$1` and so on; the plan is for these values.

    Raises:
        DBAPIError: PostgreSQL doesn't take the statement, or it took too long.
    """
    async with db.begin() as transaction:
        plan = await _executed(db, statement, parameters)
        await transaction.rollback()
    return plan


async def _executed(db: AsyncConnection, statement: str, parameters: Sequence[Any]) -> Plan:
    asked = f"EXPLAIN (ANALYZE, BUFFERS, SETTINGS, FORMAT JSON) {statement}"
    found = (await db.exec_driver_sql(asked, tuple(parameters))).scalar_one()
    (document,) = json.loads(found) if isinstance(found, str) else found
    return Plan(
        _node(document["Plan"]),
        float(document["Planning Time"]),
        float(document["Execution Time"]),
        dict(document.get("Settings", {})),
    )


def _node(found: dict[str, Any]) -> Node:
    below = [_node(each) for each in found.get("Plans", ())]
    loops = int(found["Actual Loops"])
    total = float(found.get("Actual Total Time", 0.0)) * loops

    def own_blocks(how: str) -> int:
        name = f"Shared {how} Blocks"
        taken = sum(int(each.get(name, 0)) for each in found.get("Plans", ()))
        return max(0, int(found.get(name, 0)) - taken)

    return Node(
        kind=_kind(found),
        on=found.get("Index Name") or found.get("Relation Name"),
        table=found.get("Relation Name"),
        details={name: _told(found[name]) for name in _DETAILS if name in found},
        loops=loops,
        rows=float(found["Actual Rows"]) * loops,
        estimated=float(found["Plan Rows"]) * max(1, loops),
        removed=sum(float(found.get(name, 0)) for name in _REMOVED) * loops,
        total_ms=total,
        self_ms=max(0.0, total - sum(node.total_ms for node in below)),
        hit=own_blocks("Hit"),
        read=own_blocks("Read"),
        spilled=int(found.get("Temp Written Blocks", 0)),
        below=below,
    )


def _kind(found: dict[str, Any]) -> str:
    kind = str(found["Node Type"])
    if kind in ("Nested Loop", "Hash Join", "Merge Join") and found.get("Join Type") != "Inner":
        kind = f"{kind} {found['Join Type']}"
    return kind


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# What an index can look up: a column compared with something that isn't of the same row.
_COMPARED: Final = re.compile(r"\((?:\w+\.)?(\w+) (=|<=|>=|<|>) (?:'[^']*'|\$\d+|[\d.]+|ANY )")
LEAST_REMOVED: Final = 1_000
"""Rows that are read in vain before an index is worth looking for."""
LARGEST_TRIED: Final = 64 * 1024 * 1024
"""Bytes of a table on which an index is made to see what it does: no more than a second's work."""
_SIZE: Final = text("SELECT pg_table_size(to_regclass(:name))")
_COLUMNS: Final = text("""
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped
""")


async def advise(
    db: AsyncConnection, statement: str, parameters: Sequence[Any], plan: Plan
) -> Sequence[Advice]:
    """Indexes for what the plan reads in vain, each tried on tables that are small enough.

    It is made within a transaction that is rolled back, under which nobody can write to the table.
    """
    advice = []
    for node in plan.root.walk():
        if node.table is None or node.removed < LEAST_REMOVED or "Filter" not in node.details:
            continue
        known = {row[0] for row in await db.execute(_COLUMNS, {"name": node.table})}
        compared = _COMPARED.findall(node.details["Filter"])
        equal = [column for column, sign in compared if column in known and sign == "="]
        ranged = [column for column, sign in compared if column in known and sign != "="]
        columns = list(dict.fromkeys([*equal, *ranged[:1]]))
        if not columns:
            continue
        index = f"CREATE INDEX ON {node.table} ({', '.join(columns)})"
        reason = f"{node.kind} on {node.on} read {node.removed:,.0f} rows in vain"
        size = (await db.execute(_SIZE, {"name": node.table})).scalar_one() or 0
        await db.rollback()
        after, untried = None, None
        if size > LARGEST_TRIED:
            untried = f"the table has more than {LARGEST_TRIED >> 20} MiB"
        else:
            after = await _tried(db, index, statement, parameters)
        advice.append(Advice(index, reason, plan.execution_ms, after, untried))
    return advice


async def _tried(
    db: AsyncConnection, index: str, statement: str, parameters: Sequence[Any]
) -> float:
    async with db.begin() as transaction:
        await db.exec_driver_sql(index)
        after = (await _executed(db, statement, parameters)).execution_ms
        await transaction.rollback()
    return after
