"""How far vacuum is: dead rows and when they go, statistics, and the age of transaction ids."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class TableVacuum(msgspec.Struct, frozen=True):
    """A table's rows, and when it was last looked after.

    Autovacuum comes at `dead_rows_limit` dead rows. `xid_age` is how many transactions ago the
    oldest id is that the table may hold.
    """

    name: str
    rows: int
    dead_rows: int
    dead_rows_limit: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None
    xid_age: int


class Running(msgspec.Struct, frozen=True):
    """A vacuum under way; `done` is the part of the table's blocks it has read, 0 to 1."""

    pid: int
    table: str
    phase: str
    done: float


class Vacuums(msgspec.Struct, frozen=True):
    """The tables, most dead rows beside their limit first, and the vacuums under way.

    At `xid_age_limit` a table is vacuumed whatever else is set.
    """

    xid_age_limit: int
    tables: Sequence[TableVacuum]
    running: Sequence[Running]


_TABLES = text("""
WITH watched AS (
    SELECT c.oid, c.relname, greatest(c.reltuples, 0) AS rows, age(c.relfrozenxid) AS xid_age,
           s.n_dead_tup, greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at,
           greatest(s.last_analyze, s.last_autoanalyze) AS analyzed_at,
           (SELECT option_value FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'autovacuum_vacuum_threshold') AS threshold,
           (SELECT option_value FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'autovacuum_vacuum_scale_factor') AS scale
    FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'm')
), limited AS (
    SELECT *, least(
        coalesce(threshold, current_setting('autovacuum_vacuum_threshold'))::float8
            + coalesce(scale, current_setting('autovacuum_vacuum_scale_factor'))::float8 * rows,
        -- Since PostgreSQL 18; where it isn't known it is null, which `least` passes over.
        nullif(current_setting('autovacuum_vacuum_max_threshold', true)::float8, -1)
    ) AS most
    FROM watched
)
SELECT relname, rows::bigint, n_dead_tup, most::bigint, vacuumed_at, analyzed_at, xid_age
FROM limited
ORDER BY n_dead_tup / greatest(most, 1) DESC, relname
""")
_RUNNING = text("""
SELECT pid, relid::regclass::text, phase,
       coalesce(heap_blks_scanned::float8 / nullif(heap_blks_total, 0), 0)
FROM pg_stat_progress_vacuum WHERE datname = current_database() ORDER BY pid
""")
_XID_AGE_LIMIT = text("SELECT current_setting('autovacuum_freeze_max_age')::int")


async def vacuums(db: AsyncConnection) -> Vacuums:
    """Look at all tables of the product, and at the vacuums of this database."""
    limit = (await db.execute(_XID_AGE_LIMIT)).scalar_one()
    return Vacuums(
        limit,
        [TableVacuum(*row) for row in await db.execute(_TABLES)],
        [Running(*row) for row in await db.execute(_RUNNING)],
    )
