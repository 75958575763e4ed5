"""What PostgreSQL did for a statement: its plan, executed, timed and counted.

`explain` executes a statement within a transaction that is rolled back, and reads the plan as a
tree of `Node`s. What a node took itself is what it took in all without what those below it took.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
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
    return read(document)


def read(document: dict[str, Any]) -> Plan:
    """The plan that EXPLAIN (ANALYZE, FORMAT JSON) told of a statement."""
    return Plan(
        _Reader().node(document["Plan"]),
        float(document["Planning Time"]),
        float(document["Execution Time"]),
        dict(document.get("Settings", {})),
    )


class _Taken(NamedTuple):
    """What a node took with all below it: milliseconds, and blocks."""

    ms: float = 0.0
    hit: float = 0.0
    read: float = 0.0
    spilled: float = 0.0

    def without(self, other: "_Taken") -> "_Taken":
        return _Taken(*(max(0.0, mine - its) for mine, its in zip(self, other, strict=True)))


class _Reader:
    """Makes nodes of EXPLAIN's JSON, and of what each took with those below it what it took itself.

    Two things aren't what they seem. Below a Gather the loops are of processes that ran side by
    side, whose times don't add up. And a CTE stands below the node that declares it, but runs
    within the nodes that scan it: the first of them to need it takes its time.
    """

    def __init__(self) -> None:
        self._unclaimed: dict[str, _Taken] = {}

    def node(self, found: dict[str, Any], processes: int = 1) -> Node:
        within = processes
        if str(found["Node Type"]).startswith("Gather"):
            within = int(found.get("Workers Launched", 0)) + 1
        taken = own = _taken(found, processes)
        below = []
        for each in found.get("Plans", ()):  # CTEs come before whatever scans them
            below.append(self.node(each, within))
            name = str(each.get("Subplan Name", ""))
            if name.startswith("CTE "):
                self._unclaimed[name.removeprefix("CTE ")] = _taken(each, within)
            else:
                own = own.without(_taken(each, within))
        if found["Node Type"] == "CTE Scan":
            own = self._without_cte(str(found["CTE Name"]), own)
        loops = int(found["Actual Loops"])
        return Node(
            kind=_kind(found),
            on=found.get("Index Name") or found.get("Relation Name"),
            table=found.get("Relation Name"),
            details={name: _told(found[name]) for name in _DETAILS if name in found},
            loops=loops,
            rows=float(found["Actual Rows"]) * loops,
            estimated=float(found["Plan Rows"]) * max(1, loops),
            removed=sum(float(found.get(name, 0)) for name in _REMOVED) * loops,
            total_ms=taken.ms,
            self_ms=own.ms,
            hit=int(own.hit),
            read=int(own.read),
            spilled=int(own.spilled),
            below=below,
        )

    def _without_cte(self, name: str, own: _Taken) -> _Taken:
        left = self._unclaimed.get(name, _Taken())
        self._unclaimed[name] = left.without(own)
        return own.without(left)


def _taken(found: dict[str, Any], processes: int) -> _Taken:
    loops = int(found["Actual Loops"])
    side_by_side = max(1, min(loops, processes))
    return _Taken(
        float(found.get("Actual Total Time", 0.0)) * loops / side_by_side,
        float(found.get("Shared Hit Blocks", 0)),
        float(found.get("Shared Read Blocks", 0)),
        float(found.get("Temp Written Blocks", 0)),
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
# Within these a comparison alone doesn't say whether a row is wanted.
_ALTERNATIVES: Final = re.compile(r"\b(OR|NOT|CASE|SubPlan)\b")
LEAST_REMOVED: Final = 1_000
"""Rows that are read in vain before an index is worth looking for."""
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


async def advise(
    db: AsyncConnection, statement: str, parameters: Sequence[Any], plan: Plan
) -> Sequence[Advice]:
    """Indexes for what the plan reads in vain, each tried where that is a matter of a moment.

    It is made within a transaction that is rolled back, under which nobody can write to the table:
    for a few seconds at most.
    """
    advice: dict[str, Advice] = {}
    for node in plan.root.walk():
        compared = _compared(node)
        if not compared:
            continue
        table = (await db.execute(_TABLE, {"name": node.table})).one_or_none()
        await db.rollback()
        if table is None:
            continue
        equal = [column for column, sign in compared if column in table.columns and sign == "="]
        ranged = [column for column, sign in compared if column in table.columns and sign != "="]
        columns = list(dict.fromkeys([*equal, *ranged[:1]]))
        index = f"CREATE INDEX ON {table[0]} ({', '.join(columns)})"
        if not columns or index in advice:
            continue
        after, untried = None, _hindrance(table, plan)
        if untried is None:
            after, untried = await _tried(db, index, statement, parameters)
        reason = f"{node.kind} on {node.on} read {node.removed:,.0f} rows in vain"
        advice[index] = Advice(index, reason, plan.execution_ms, after, untried)
    return list(advice.values())


def _compared(node: Node) -> Sequence[tuple[str, str]]:
    """Columns and signs by which a node throws nearly all away that it reads."""
    selects = node.removed >= max(LEAST_REMOVED, LEAST_SHARE * (node.removed + node.rows))
    told = node.details.get("Filter", "")
    if node.table is None or not selects or _ALTERNATIVES.search(told):
        return []
    return _COMPARED.findall(told)


def _hindrance(table: Row[Any], plan: Plan) -> str | None:
    if table.size > LARGEST_TRIED:
        return f"the table has more than {LARGEST_TRIED >> 20} MiB"
    if plan.execution_ms > LONGEST_TRIED:
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
            after = (await _executed(db, statement, parameters)).execution_ms
            await transaction.rollback()
    except DBAPIError as error:
        return None, str(error.orig)
    return after, None
