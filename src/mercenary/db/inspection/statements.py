"""What the server has been asked most, by pg_stat_statements.

What differs by version is the extension's, not the server's: an older one stays in a database until
somebody says ALTER EXTENSION. 1.8 came with PostgreSQL 13.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.faults import sqlstate
from mercenary.settings import SetupError

PRELOADED: Final = "pg_stat_statements"
_OLDEST: Final = (1, 8)
_TELLS_SINCE: Final = (1, 9)
_NOT_LOADED: Final = "55000"
ORDERS: Final[Mapping[str, str]] = {
    "total": "total_exec_time DESC",
    "mean": "mean_exec_time DESC",
    "calls": "calls DESC",
    "rows": "rows DESC",
    "reads": "shared_blks_read DESC",
    "wal": "wal_bytes DESC",
}
"""What the statements can be ordered by."""


class Statement(msgspec.Struct, frozen=True):
    """A statement, whatever its values, since the statistics began. Times are milliseconds.

    `share` is of the time of all statements and `hit_ratio` of the blocks that were found in
    memory, both 0 to 1; `spilled_bytes` were written to temporary files, `wal_bytes` to the log.
    `id` and `text` are None where another role sent it and ours may not see them. `name` is that of
    the product's query (`ops/naming.py`), where it is known.
    """

    id: int | None
    calls: int
    total_ms: float
    mean_ms: float
    rows: int
    share: float
    hit_ratio: float
    spilled_bytes: int
    wal_bytes: int
    text: str | None
    name: str | None = None


class Statistics(msgspec.Struct, frozen=True):
    """The statements in the order asked for.

    `since` is when they were reset last, None where that isn't told.
    """

    since: datetime | None
    statements: Sequence[Statement]


# Ours may not see what is preloaded, and then there is no row.
_LIBRARIES = text("SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries'")
_INSTALLED = text("SELECT extversion FROM pg_extension WHERE extname = 'pg_stat_statements'")
# Since PostgreSQL 14; off means that nothing is counted.
_COMPUTED = text("SELECT current_setting('compute_query_id', true)")
_SINCE = text("SELECT stats_reset FROM pg_stat_statements_info")
_RESET = text("SELECT pg_stat_statements_reset()")
_STATEMENTS: Final = """
SELECT queryid, calls, total_exec_time, mean_exec_time, rows,
       total_exec_time / greatest(sum(total_exec_time) OVER (), 1e-9),
       coalesce(shared_blks_hit::float8 / nullif(shared_blks_hit + shared_blks_read, 0), 1),
       temp_blks_written * 8192, wal_bytes::bigint,
       CASE WHEN queryid IS NOT NULL THEN regexp_replace(query, '\\s+', ' ', 'g') END
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY {order} LIMIT :most
"""
_ORDERED = {name: text(_STATEMENTS.format(order=order)) for name, order in ORDERS.items()}


async def statistics(db: AsyncConnection, *, by: str, most: int) -> Statistics:
    """Up to `most` statements of this database, by one of `ORDERS`.

    Raises:
        SetupError: the extension isn't there, isn't loaded or is too old; the text says what to do.
    """
    version = await _require(db)
    try:
        statements = [Statement(*row) for row in await db.execute(_ORDERED[by], {"most": most})]
    except DBAPIError as error:
        if sqlstate(error) == _NOT_LOADED:
            raise _not_loaded() from error
        raise
    since = (await db.execute(_SINCE)).scalar_one() if version >= _TELLS_SINCE else None
    return Statistics(since, statements)


async def reset(db: AsyncConnection) -> None:
    """Begin to count anew.

    Raises:
        SetupError: as for `statistics`.
    """
    await _require(db)
    await db.execute(_RESET)


async def _require(db: AsyncConnection) -> tuple[int, ...]:
    """The extension's version."""
    libraries = (await db.execute(_LIBRARIES)).scalar()
    if libraries is not None and PRELOADED not in libraries:
        raise _not_loaded()
    installed = (await db.execute(_INSTALLED)).scalar()
    if installed is None:
        raise SetupError(
            "pg_stat_statements is not installed in this database; a superuser does it by CREATE "
            "EXTENSION pg_stat_statements, on a server that loads it (shared_preload_libraries)"
        )
    version = tuple(map(int, installed.split(".")))
    if version < _OLDEST:
        raise SetupError(
            f"pg_stat_statements is at {installed} in this database, and 1.8 is needed; a "
            "superuser brings it up by ALTER EXTENSION pg_stat_statements UPDATE"
        )
    if (await db.execute(_COMPUTED)).scalar_one() == "off":
        raise SetupError(
            "the server counts no statements, for compute_query_id is off; set it to auto in "
            "postgresql.conf and reload it"
        )
    return version


def _not_loaded() -> SetupError:
    return SetupError(
        "the server doesn't load pg_stat_statements; add it to shared_preload_libraries in "
        "postgresql.conf (Debian has it in its postgresql packages) and restart the server"
    )
