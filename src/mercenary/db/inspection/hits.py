"""How much of what was asked for PostgreSQL had in its own memory, of tables and of indexes.

What it hadn't may still have come from the system's cache: it is a read for PostgreSQL all the
same. Counted since the server's statistics were reset, or it was made.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class TableHits(msgspec.Struct, frozen=True):
    """A table with its partitions: blocks of 8 KiB that were read, of its rows and its indexes.

    `hit_ratio` is the part of the blocks asked for that was in memory, 0 to 1; None where none was
    asked for.
    """

    name: str
    reads: int
    hit_ratio: float | None
    index_reads: int
    index_hit_ratio: float | None


class Hits(msgspec.Struct, frozen=True):
    """The ratio for the whole database, its catalogs too, then for the product's tables.

    `by_table` has the most reads first.
    """

    hit_ratio: float | None
    table_hit_ratio: float | None
    index_hit_ratio: float | None
    by_table: Sequence[TableHits]


_DATABASE = text("""
SELECT blks_hit::float8 / nullif(blks_hit + blks_read, 0)
FROM pg_stat_database WHERE datname = current_database()
""")
# The row without a name is all of them together.
_TABLES = text("""
WITH tables AS (
    SELECT coalesce(pg_partition_root(relid)::oid, relid)::regclass::text AS name,
           heap_blks_hit + coalesce(toast_blks_hit, 0) AS hits,
           heap_blks_read + coalesce(toast_blks_read, 0) AS reads,
           coalesce(idx_blks_hit, 0) + coalesce(tidx_blks_hit, 0) AS index_hits,
           coalesce(idx_blks_read, 0) + coalesce(tidx_blks_read, 0) AS index_reads
    FROM pg_statio_user_tables WHERE schemaname = 'public'
)
SELECT name, coalesce(sum(reads), 0)::bigint,
       (sum(hits) / nullif(sum(hits) + sum(reads), 0))::float8,
       coalesce(sum(index_reads), 0)::bigint,
       (sum(index_hits) / nullif(sum(index_hits) + sum(index_reads), 0))::float8
FROM tables
GROUP BY GROUPING SETS ((name), ())
ORDER BY grouping(name) DESC, sum(reads) + sum(index_reads) DESC, name
""")


async def hits(db: AsyncConnection) -> Hits:
    """Look at all tables of the product."""
    database = (await db.execute(_DATABASE)).scalar_one()
    (_, _, of_tables, _, of_indexes), *rows = await db.execute(_TABLES)
    return Hits(database, of_tables, of_indexes, [TableHits(*row) for row in rows])
