"""What takes how much room: the database, and its tables with their indexes."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class TableSize(msgspec.Struct, frozen=True):
    """A table or materialized view. Sizes are bytes, `rows` is PostgreSQL's estimate.

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
_TABLES = text("""
SELECT c.relname, greatest(c.reltuples, 0)::bigint,
       pg_relation_size(c.oid),
       coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0),
       pg_indexes_size(c.oid),
       pg_total_relation_size(c.oid)
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'm')
ORDER BY pg_total_relation_size(c.oid) DESC, c.relname
""")


async def sizes(db: AsyncConnection) -> Sizes:
    """Measure the database and its tables."""
    database = (await db.execute(_DATABASE)).scalar_one()
    return Sizes(database, [TableSize(*row) for row in await db.execute(_TABLES)])
