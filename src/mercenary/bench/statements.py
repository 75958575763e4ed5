"""What the database was really asked, by PostgreSQL's own count (`pg_stat_statements`).

Use it to prove how often something was read: a cache's counters say what it believes.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg

from mercenary.settings import SetupError


class Asked(NamedTuple):
    """How often a statement was executed, and how many rows it has given, each a project read."""

    calls: int
    rows: int

    def since(self, before: "Asked") -> "Asked":
        """What has been added since."""
        return Asked(self.calls - before.calls, self.rows - before.rows)


class ProjectReads:
    """The statement that reads projects by id. Changes lock what they read by one of its own.

    A change reads the projects that it locks by the same statement as everybody; they are taken
    off, so that what is left was read for readers.
    """

    def __init__(self, connection: Any, reading: int) -> None:
        self._connection = connection
        self._reading = reading

    @classmethod
    @asynccontextmanager
    async def of(
        cls, uri: str, read: Callable[[], Awaitable[None]]
    ) -> AsyncIterator["ProjectReads"]:
        """Find the statement by what `read` adds, which reads one project from the database.

        Raises:
            SetupError: it can't be told from others, or nothing is counted there.
        """
        connection = await asyncpg.connect(uri)
        try:
            before = await _counted(connection)
            await read()
            after = await _counted(connection)
            new = [
                id
                for id, (calls, rows) in after.items()
                if (calls, rows) == tuple(count + 1 for count in before.get(id, (0, 0)))
            ]
            if len(new) != 1:
                raise SetupError(
                    f"{len(new)} statements in pg_stat_statements look like the one that reads a "
                    "project; is the extension there, and the database left alone?"
                )
            yield cls(connection, new[0])
        finally:
            await connection.close()

    async def count(self) -> Asked:
        """What has been asked so far."""
        counted = await _counted(self._connection)
        calls, rows = counted[self._reading]
        locked: int = await self._connection.fetchval(_LOCKED)
        return Asked(calls, rows - locked)


# All that is executed from inside of others isn't ours.
_COUNTED = """
SELECT queryid, sum(calls)::bigint, sum(rows)::bigint FROM pg_stat_statements
WHERE toplevel AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND query LIKE 'SELECT projects.id, %FROM projects%' GROUP BY 1
"""
_LOCKED = """
SELECT coalesce(sum(rows), 0)::bigint FROM pg_stat_statements
WHERE toplevel AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND query LIKE 'SELECT projects.id%FROM projects%FOR UPDATE'
"""


async def _counted(connection: Any) -> dict[int, tuple[int, int]]:
    return {id: (calls, rows) for id, calls, rows in await connection.fetch(_COUNTED)}
