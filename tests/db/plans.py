"""What tests look for in a plan that `mercenary.db.plans` has read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from mercenary.db.plans import Plan, explain
from mercenary.db.sending import sent
from mercenary.db.uri import asyncpg_url


@asynccontextmanager
async def planning(uri: str) -> AsyncIterator[AsyncConnection]:
    """A connection on which nothing is compiled, which would take longer than what is planned."""
    options = {"server_settings": {"jit": "off"}}
    engine = create_async_engine(asyncpg_url(uri), poolclass=NullPool, connect_args=options)
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


async def plan_of(
    db: AsyncConnection, statement: Executable, parameters: dict[str, Any], *, for_values: bool
) -> Plan:
    """Execute a statement as it is planned for these values, or for any."""
    text, values = sent(statement, parameters)
    return await explain(db, text, values, generic=not for_values)


def rows_looked_at(plan: Plan) -> float:
    """Rows that scans looked at, those that they threw away among them."""
    return sum(
        node.rows + node.removed
        for node in plan.root.walk()
        if "Scan" in node.kind and node.kind != "CTE Scan"
    )


def sorted_rows(plan: Plan) -> float:
    """The largest input of a sort."""
    inputs = (
        below.rows for node in plan.root.walk() if "Sort" in node.kind for below in node.below
    )
    return max(inputs, default=0)


def scans(plan: Plan) -> set[tuple[str, str]]:
    """Each kind of scan with the index or else the table that it read."""
    return {(node.kind, node.on) for node in plan.root.walk() if node.on and node.loops}


def read_whole(plan: Plan) -> set[str]:
    """The tables that were read from end to end."""
    return {name for kind, name in scans(plan) if kind == "Seq Scan"}
