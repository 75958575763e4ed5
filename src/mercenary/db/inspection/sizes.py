"""What takes how much room: the database, and its tables with their indexes."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class TableSize(msgspec.Struct, frozen=True):
    """A table with its partitions, or a materialized view. Sizes are bytes, `rows` an estimate.

    `heap_bytes` are the rows themselves, `toast_bytes` what of them is kept apart for its length.
    """

    name: str
    rows: int
    heap_bytes: int
    toast_bytes: int
    index_bytes: int
    total_bytes: int


class Sizes(msgspec.Struct, frozen=True):
    """The whole database in bytes, and its tables, largest first."""

    database_bytes: int
    tables: Sequence[TableSize]


_DATABASE = text("SELECT pg_database_size(current_database())")
# A partitioned table holds nothing itself: all that it takes are its partitions, at any depth. An
# ordinary table is the root and only leaf of its own tree, which pg_partition_tree doesn't tell.
_TABLES = text("""
SELECT c.relname, sum(greatest(leaf.reltuples, 0))::bigint,
       sum(pg_relation_size(leaf.oid))::bigint,
       sum(coalesce(pg_total_relation_size(nullif(leaf.reltoastrelid, 0)), 0))::bigint,
       sum(pg_indexes_size(leaf.oid))::bigint,
       sum(pg_total_relation_size(leaf.oid))::bigint AS total
FROM pg_class c
CROSS JOIN LATERAL (
    SELECT c.oid AS relid WHERE c.relkind IN ('r', 'm')
    UNION ALL
    SELECT tree.relid FROM pg_partition_tree(c.oid) tree WHERE c.relkind = 'p' AND tree.isleaf
) part
JOIN pg_class leaf ON leaf.oid = part.relid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'm', 'p')
  AND NOT c.relispartition
GROUP BY c.oid, c.relname
ORDER BY total DESC, c.relname
""")


async def sizes(db: AsyncConnection) -> Sizes:
    """Measure the database and its tables."""
    database = (await db.execute(_DATABASE)).scalar_one()
    return Sizes(database, [TableSize(*row) for row in await db.execute(_TABLES)])
