"""Whether the tables are spread over the servers of a cluster (Citus), which decides how to ask.

A cluster refuses some of what one server does best: locking rows of several shards by a statement,
an UPDATE that is joined with rows of parameters, many pages by LATERAL. Where a statement needs two
forms for that, the modules here that send it ask `is_sharded` (`locks.py`, `changes.py`,
`idempotency.py`, `outbox.py`); a feature's queries don't.
"""

from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_OPTION: Final = "topology"
# Citus' catalog. Where it isn't there, the second question can't even be asked.
_HAS_CATALOG: Final = "SELECT to_regclass('pg_dist_partition') IS NOT NULL"
_IS_DISTRIBUTED: Final = """
    SELECT EXISTS (
        SELECT FROM pg_dist_partition WHERE logicalrelid = to_regclass('projects')
    )
"""


class Topology:
    """What is known of one engine's database; `sharded` None: nothing yet.

    What isn't told is looked up by the first connection, and is so until the process ends: whoever
    distributes a database starts its processes anew.
    """

    def __init__(self, *, sharded: bool | None) -> None:
        self.sharded = sharded

    @property
    def options(self) -> dict[str, Any]:
        """The engine's `execution_options`, by which its connections know."""
        return {_OPTION: self}

    def watch(self, engine: AsyncEngine) -> None:
        """Look it up when the engine makes its first connection."""
        event.listen(engine.sync_engine.pool, "first_connect", self._look)

    def _look(self, connection: Any, _: object) -> None:
        if self.sharded is None:
            distributed = _answer(connection, _HAS_CATALOG)
            self.sharded = distributed and _answer(connection, _IS_DISTRIBUTED)


def is_sharded(db: AsyncConnection) -> bool:
    """Whether this connection's tables are spread."""
    connection = db.sync_connection
    topology = None if connection is None else connection.get_execution_options().get(_OPTION)
    return topology is not None and bool(topology.sharded)


def _answer(connection: Any, question: str) -> bool:
    cursor = connection.cursor()
    try:
        cursor.execute(question)
        return bool(cursor.fetchone()[0])
    finally:
        cursor.close()
        connection.rollback()
