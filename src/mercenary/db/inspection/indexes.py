"""What is wrong with the indexes: missing, unused, duplicate, invalid.

Whether an index is used is counted since the server's statistics were reset, and on this server
alone: what only a replica's readers use looks unused here.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# A scan that reads this many rows each time is looking for few among many.
MANY_ROWS = 10_000


class ReadWhole(msgspec.Struct, frozen=True):
    """A table that is read from end to end: how often, and rows each time on average."""

    table: str
    scans: int
    rows: int


class ForeignKey(msgspec.Struct, frozen=True):
    """A foreign key that no index begins with: deleting what it names reads the whole table."""

    table: str
    name: str
    columns: Sequence[str]
    remedy: str


class Unused(msgspec.Struct, frozen=True):
    """An index that no statement has read since the statistics began."""

    table: str
    name: str
    bytes: int
    serves: str | None
    remedy: str


class Duplicate(msgspec.Struct, frozen=True):
    """An index that another one of the same table can stand for, since it begins alike."""

    table: str
    name: str
    covered_by: str
    bytes: int
    remedy: str


class Invalid(msgspec.Struct, frozen=True):
    """An index whose making was cut off: it is kept up to date, and never read."""

    table: str
    name: str
    remedy: str


class Indexes(msgspec.Struct, frozen=True):
    """All that was found. `since`: the statistics count from then on, None from the beginning."""

    since: datetime | None
    read_whole: Sequence[ReadWhole]
    foreign_keys: Sequence[ForeignKey]
    unused: Sequence[Unused]
    duplicate: Sequence[Duplicate]
    invalid: Sequence[Invalid]


_SINCE = text("SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()")
_READ_WHOLE = text("""
SELECT relname, seq_scan, seq_tup_read / seq_scan
FROM pg_stat_user_tables
WHERE schemaname = 'public' AND seq_scan > 0 AND seq_tup_read / seq_scan >= :many
ORDER BY seq_tup_read DESC
""")
_FOREIGN_KEYS = text("""
SELECT c.conrelid::regclass::text, c.conname,
       array_agg(a.attname::text ORDER BY k.place),
       format('CREATE INDEX CONCURRENTLY ON %s (%s)', c.conrelid::regclass,
              string_agg(quote_ident(a.attname), ', ' ORDER BY k.place))
FROM pg_constraint c
CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace AND c.conparentid = 0
  AND NOT EXISTS (
      SELECT FROM pg_index i
      WHERE i.indrelid = c.conrelid AND i.indpred IS NULL AND i.indisvalid
        -- The key's columns come first, in whatever order.
        AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
  )
GROUP BY c.oid, c.conrelid, c.conname
ORDER BY 1, 2
""")
_UNUSED = text("""
SELECT s.relname, s.indexrelname, pg_relation_size(s.indexrelid),
       obj_description(s.indexrelid, 'pg_class'),
       format('DROP INDEX CONCURRENTLY %s', s.indexrelid::regclass)
FROM pg_stat_user_indexes s
JOIN pg_index i ON i.indexrelid = s.indexrelid
WHERE s.schemaname = 'public' AND s.idx_scan = 0 AND NOT i.indisunique AND i.indisvalid
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = s.indexrelid)
  AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = s.indexrelid)
ORDER BY pg_relation_size(s.indexrelid) DESC, s.indexrelname
""")
# Alike: the same method, order, operators and rows. Of two that are the same the later one goes.
_DUPLICATE = text("""
SELECT i.indrelid::regclass::text, c.relname, o.relname, pg_relation_size(i.indexrelid),
       format('DROP INDEX CONCURRENTLY %s', i.indexrelid::regclass)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_index j ON j.indrelid = i.indrelid AND j.indexrelid <> i.indexrelid AND j.indisvalid
JOIN pg_class o ON o.oid = j.indexrelid AND o.relam = c.relam
JOIN pg_am m ON m.oid = c.relam
WHERE c.relnamespace = 'public'::regnamespace AND i.indisvalid AND NOT i.indisunique
  AND i.indexprs IS NULL AND j.indexprs IS NULL
  AND pg_get_expr(i.indpred, i.indrelid) IS NOT DISTINCT FROM pg_get_expr(j.indpred, j.indrelid)
  AND i.indnatts <= j.indnkeyatts AND (m.amname = 'btree' OR i.indnatts = j.indnatts)
  AND (j.indkey::int2[])[0:i.indnatts - 1] = (i.indkey::int2[])[0:i.indnatts - 1]
  AND (j.indclass::oid[])[0:i.indnkeyatts - 1] = (i.indclass::oid[])[0:i.indnkeyatts - 1]
  AND (j.indcollation::oid[])[0:i.indnkeyatts - 1] = (i.indcollation::oid[])[0:i.indnkeyatts - 1]
  AND (j.indoption::int2[])[0:i.indnkeyatts - 1] = (i.indoption::int2[])[0:i.indnkeyatts - 1]
  AND (i.indnatts < j.indnatts OR j.indisunique OR i.indexrelid > j.indexrelid)
  AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
ORDER BY 1, 2, 3
""")
_INVALID = text("""
SELECT i.indrelid::regclass::text, c.relname,
       format('REINDEX INDEX CONCURRENTLY %s', i.indexrelid::regclass)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'i' AND NOT i.indisvalid
ORDER BY 1, 2
""")


async def indexes(db: AsyncConnection) -> Indexes:
    """Look through all indexes and foreign keys of the product."""
    return Indexes(
        (await db.execute(_SINCE)).scalar_one(),
        [ReadWhole(*row) for row in await db.execute(_READ_WHOLE, {"many": MANY_ROWS})],
        [ForeignKey(*row) for row in await db.execute(_FOREIGN_KEYS)],
        [Unused(*row) for row in await db.execute(_UNUSED)],
        [Duplicate(*row) for row in await db.execute(_DUPLICATE)],
        [Invalid(*row) for row in await db.execute(_INVALID)],
    )
