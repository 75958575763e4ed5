"""What the server has been asked most, by pg_stat_statements."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.settings import SetupError

PRELOADED: Final = "pg_stat_statements"
_PG_14: Final = 140_000
ORDERS: Final[Mapping[str, str]] = {
    "total": "total_exec_time DESC",
    "mean": "mean_exec_time DESC",
    "calls": "calls DESC",
    "rows": "rows DESC",
    "reads": "shared_blks_read DESC",
}
"""What the statements can be ordered by."""


class Statement(msgspec.Struct, frozen=True):
    """A statement, whatever its values, since the statistics began. Times are milliseconds.

    `share` is of the time of all statements and `hit_ratio` of the blocks that were found in
    memory, both 0 to 1; `spilled_bytes` were written to temporary files.
    """

    id: int
    calls: int
    total_ms: float
    mean_ms: float
    rows: int
    share: float
    hit_ratio: float
    spilled_bytes: int
    text: str


class Statistics(msgspec.Struct, frozen=True):
    """The statements in the order asked for, and the whole database's ratio of blocks in memory.

    `since` is when the statistics were reset last, None where PostgreSQL 13 doesn't tell.
    """

    since: datetime | None
    hit_ratio: float
    statements: Sequence[Statement]


_LIBRARIES = text("SELECT current_setting('shared_preload_libraries')")
_INSTALLED = text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements')")
_VERSION = text("SELECT current_setting('server_version_num')::int")
_SINCE = text("SELECT stats_reset FROM pg_stat_statements_info")
_RESET = text("SELECT pg_stat_statements_reset()")
_HIT_RATIO = text("""
SELECT coalesce(blks_hit::float8 / nullif(blks_hit + blks_read, 0), 1)
FROM pg_stat_database WHERE datname = current_database()
""")
_STATEMENTS: Final = """
SELECT coalesce(queryid, 0), calls, total_exec_time, mean_exec_time, rows,
       total_exec_time / greatest(sum(total_exec_time) OVER (), 1e-9),
       coalesce(shared_blks_hit::float8 / nullif(shared_blks_hit + shared_blks_read, 0), 1),
       temp_blks_written * 8192,
       regexp_replace(query, '\\s+', ' ', 'g')
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY {order} LIMIT :most
"""
_ORDERED = {name: text(_STATEMENTS.format(order=order)) for name, order in ORDERS.items()}


async def statistics(db: AsyncConnection, *, by: str, most: int) -> Statistics:
    """Up to `most` statements of this database, by one of `ORDERS`.

    Raises:
        SetupError: the extension isn't there or isn't loaded; the text says how to get it.
    """
    await _require(db)
    version = (await db.execute(_VERSION)).scalar_one()
    since = (await db.execute(_SINCE)).scalar_one() if version >= _PG_14 else None
    ratio = (await db.execute(_HIT_RATIO)).scalar_one()
    rows = await db.execute(_ORDERED[by], {"most": most})
    return Statistics(since, ratio, [Statement(*row) for row in rows])


async def reset(db: AsyncConnection) -> None:
    """Begin to count anew.

    Raises:
        SetupError: as for `statistics`.
    """
    await _require(db)
    await db.execute(_RESET)


async def _require(db: AsyncConnection) -> None:
    libraries = str((await db.execute(_LIBRARIES)).scalar_one())
    if PRELOADED not in libraries:
        raise SetupError(
            "the server doesn't load pg_stat_statements; add it to shared_preload_libraries in "
            "postgresql.conf (Debian has it in postgresql-contrib) and restart the server"
        )
    if not (await db.execute(_INSTALLED)).scalar_one():
        raise SetupError(
            "pg_stat_statements is loaded but not installed in this database; a superuser does it "
            "by CREATE EXTENSION pg_stat_statements"
        )
