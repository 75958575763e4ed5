"""What PostgreSQL does for a statement: its plan, and what became of it once it was executed.

`explain` executes a statement within a transaction that is rolled back, and reads the plan as a
tree of `Node`s. What a node took itself is what it took in all without what those below it took.
`foresee` has it planned only. Either plans for the given values, or, `generic`, for any: as
PostgreSQL does with a prepared statement that it has executed some times.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Fields of EXPLAIN's JSON that say what a node looks for, in the order in which people read them.
_DETAILS: Final = (
    *("Index Cond", "Recheck Cond", "Filter", "Join Filter", "Hash Cond", "Merge Cond"),
    *("One-Time Filter", "Sort Key", "Group Key", "Function Name", "CTE Name", "Subplan Name"),
)
_REMOVED: Final = (
    "Rows Removed by Filter",
    "Rows Removed by Join Filter",
    "Rows Removed by Index Recheck",
)


class Node(msgspec.Struct, frozen=True):
    """A step of a plan. Rows are of all its loops together, times milliseconds, blocks of 8 KiB.

    `on` is the table or index it reads. `estimated` is what the planner took `rows` to be, of
    `width` bytes each, `removed` what it read and threw away, `spilled` what it wrote to temporary
    files in blocks. One that wasn't executed has no loops, and nothing counted.
    """

    kind: str
    on: str | None
    table: str | None
    details: dict[str, str]
    loops: int
    rows: float
    estimated: float
    width: int
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
    """A plan; times are milliseconds. `settings` are those that differ from defaults.

    `execution_ms` is None where it wasn't executed.
    """

    root: Node
    planning_ms: float
    execution_ms: float | None
    settings: dict[str, str]

    @property
    def costliest(self) -> Node:
        """The node that took most time itself."""
        return max(self.root.walk(), key=lambda node: node.self_ms)


EXECUTED: Final = "ANALYZE, BUFFERS, SETTINGS, FORMAT JSON"
_FORESEEN: Final = "SUMMARY, SETTINGS, FORMAT JSON"


async def explain(
    db: AsyncConnection,
    statement: str,
    parameters: Sequence[Any] = (),
    *,
    generic: bool = False,
) -> Plan:
    """Execute a statement and roll it back, within the transaction under way if there is one.

    Sequences that it draws from stay drawn from.

    `parameters` stand for `$1` and so on.

    Raises:
        DBAPIError: PostgreSQL doesn't take the statement, or it took too long.
    """
    return await _rolled_back(db, EXECUTED, statement, parameters, generic=generic)


async def foresee(
    db: AsyncConnection,
    statement: str,
    parameters: Sequence[Any] | None = None,
    *,
    generic: bool = False,
) -> Plan:
    """Plan a statement and don't execute it. A generic plan needs no parameters.

    Raises:
        DBAPIError: PostgreSQL doesn't take the statement.
    """
    return await _rolled_back(db, _FORESEEN, statement, parameters, generic=generic)


async def _rolled_back(
    db: AsyncConnection,
    options: str,
    statement: str,
    parameters: Sequence[Any] | None,
    *,
    generic: bool,
) -> Plan:
    async with db.begin_nested() if db.in_transaction() else db.begin() as transaction:
        if generic:
            plan = await _planned_for_any(db, options, statement, parameters)
        else:
            plan = await planned(db, options, statement, parameters or ())
        await transaction.rollback()
    return plan


async def planned(
    db: AsyncConnection, options: str, statement: str, parameters: Sequence[Any] = ()
) -> Plan:
    """What EXPLAIN tells within the transaction that is under way."""
    asked = f"EXPLAIN ({options}) {statement}"
    found = (await db.exec_driver_sql(asked, tuple(parameters))).scalar_one()
    (document,) = json.loads(found) if isinstance(found, str) else found
    return read(document)


_PREPARED: Final = "mercenary_explained"
_PARAMETERS: Final = text(
    "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = :name"
)


async def _planned_for_any(
    db: AsyncConnection, options: str, statement: str, parameters: Sequence[Any] | None
) -> Plan:
    """By a prepared statement, since EXPLAIN (GENERIC_PLAN) came with 16 and executes nothing.

    It outlives the transaction, so it is removed within, behind a savepoint that mends a failure.
    """
    await db.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
    await db.exec_driver_sql(f"PREPARE {_PREPARED} AS {statement}")
    try:
        if parameters is None:
            parameters = [None] * (await db.execute(_PARAMETERS, {"name": _PREPARED})).scalar_one()
        values = ", ".join(map(literal, parameters))
        async with db.begin_nested():
            return await planned(
                db, options, f"EXECUTE {_PREPARED}" + (f" ({values})" if values else "")
            )
    finally:
        await db.exec_driver_sql(f"DEALLOCATE {_PREPARED}")


def literal(value: Any) -> str:
    """A value as SQL has it, for where no parameter may stand."""
    return "NULL" if value is None else "'" + _text(value).replace("'", "''") + "'"


def _text(value: Any) -> str:
    match value:
        case list() | tuple():
            return "{" + ",".join(map(_item, value)) + "}"
        case bytes():
            return "\\x" + value.hex()
        case timedelta():
            return f"{value.total_seconds()} seconds"
        case _:
            return str(value)


def _item(value: Any) -> str:
    if value is None or isinstance(value, list | tuple):
        return "NULL" if value is None else _text(value)
    return '"' + _text(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def read(document: dict[str, Any]) -> Plan:
    """The plan that EXPLAIN (FORMAT JSON) told of a statement."""
    executed = document.get("Execution Time")
    return Plan(
        _Reader().node(document["Plan"]),
        float(document["Planning Time"]),
        None if executed is None else float(executed),
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
        loops = int(found.get("Actual Loops", 0))
        return Node(
            kind=_kind(found),
            on=found.get("Index Name") or found.get("Relation Name"),
            table=found.get("Relation Name"),
            details={name: _told(found[name]) for name in _DETAILS if name in found},
            loops=loops,
            rows=float(found.get("Actual Rows", 0)) * loops,
            estimated=float(found["Plan Rows"]) * max(1, loops),
            width=int(found["Plan Width"]),
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
    loops = int(found.get("Actual Loops", 0))
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
