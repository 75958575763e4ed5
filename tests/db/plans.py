"""What PostgreSQL does for a statement: its plan, executed and counted."""

import json
from collections.abc import Iterator
from typing import Any

import asyncpg
from sqlalchemy import CompoundSelect, Select
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect

_DIALECT = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]


class Plan:
    """An executed plan, and what it looked at."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.nodes = list(_nodes(root))

    @property
    def rows(self) -> int:
        """Rows that scans looked at, those that they threw away among them."""
        return sum(
            round(node["Actual Loops"] * (node["Actual Rows"] + _removed(node)))
            for node in self.nodes
            if "Scan" in node["Node Type"] and node["Node Type"] != "CTE Scan"
        )

    @property
    def sorted_rows(self) -> int:
        """The largest input of a sort."""
        return max(
            (
                round(below["Actual Rows"] * below["Actual Loops"])
                for node in self.nodes
                if "Sort" in node["Node Type"]
                for below in node["Plans"]
            ),
            default=0,
        )

    @property
    def scans(self) -> set[tuple[str, str]]:
        """Each kind of scan with the index or else the table that it read."""
        return {
            (node["Node Type"], node.get("Index Name") or node["Relation Name"])
            for node in self.nodes
            if {"Index Name", "Relation Name"} & set(node) and node["Actual Loops"]
        }

    @property
    def read_whole(self) -> set[str]:
        """The tables that were read from end to end."""
        return {
            node["Relation Name"]
            for node in self.nodes
            if node["Node Type"] == "Seq Scan" and node["Actual Loops"]
        }


async def plan_of(
    connection: asyncpg.Connection,
    statement: Select[Any] | CompoundSelect[Any],
    parameters: dict[str, Any],
    *,
    for_values: bool,
) -> Plan:
    """Execute a statement as it is planned for these values, or for any."""
    mode = "custom" if for_values else "generic"
    compiled = statement.compile(dialect=_DIALECT)
    values = compiled.construct_params(parameters)
    literals = ", ".join(_literal(values[name]) for name in compiled.positiontup or ())
    await connection.execute(f"SET plan_cache_mode = force_{mode}_plan")
    await connection.execute(f"PREPARE asked AS {compiled}")
    try:
        explained = await connection.fetchval(
            "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE asked"
            + (f"({literals})" if literals else "")
        )
    finally:
        await connection.execute("DEALLOCATE asked")
    return Plan(json.loads(explained)[0]["Plan"])


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def _removed(node: dict[str, Any]) -> float:
    return float(
        sum(
            node.get(name, 0)
            for name in ("Rows Removed by Filter", "Rows Removed by Index Recheck")
        )
    )


def _literal(value: Any) -> str:
    text = "{" + ",".join(map(str, value)) + "}" if isinstance(value, list) else str(value)
    return "'" + text.replace("'", "''") + "'"
