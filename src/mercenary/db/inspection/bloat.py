"""Room that tables and indexes take beyond their rows: space that was freed and not used again.

Estimated from the planner's statistics: rows times their average width, beside the pages there are.
It costs nothing and is right to about a tenth for what was analyzed lately; with the extension
pgstattuple the pages themselves are read instead, which takes as long as reading them does.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Bloated(msgspec.Struct, frozen=True):
    """A table or index: its bytes, and those that hold nothing (an estimate, never below 0)."""

    name: str
    kind: str
    bytes: int
    empty_bytes: int

    @property
    def share(self) -> float:
        """The empty part, 0 to 1."""
        return self.empty_bytes / self.bytes if self.bytes else 0.0


class Bloat(msgspec.Struct, frozen=True):
    """What has empty room, most first. `measured`: pgstattuple read the pages."""

    measured: bool
    found: Sequence[Bloated]


# Of a page 24 bytes are its head, and of a row 24 its head, which its columns follow at multiples
# of 8; 4 more point at it (PostgreSQL's manual, «Database Page Layout»). An index's row has 8 bytes
# of head, its pages 16 more at the end, and its leaves are filled to nine tenths.
_ESTIMATED = text("""
WITH widths AS (
    SELECT tablename, attname, avg_width * (1 - null_frac) AS width FROM pg_stats
    WHERE schemaname = 'public' AND NOT inherited
), tables AS (
    SELECT c.relname, 'table' AS kind, pg_relation_size(c.oid) AS bytes,
           ceil(c.reltuples * (28 + 8 * ceil(sum(coalesce(w.width, 0)) / 8)) / (8192 - 24)
                / coalesce((SELECT option_value::float8 / 100 FROM pg_options_to_table(c.reloptions)
                            WHERE option_name = 'fillfactor'), 1)) * 8192 AS needed
    FROM pg_class c LEFT JOIN widths w ON w.tablename = c.relname
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'm') AND c.reltuples > 0
    GROUP BY c.oid, c.relname, c.reltuples, c.reloptions
), btrees AS (
    SELECT c.relname, 'index' AS kind, pg_relation_size(c.oid) AS bytes,
           ceil(c.reltuples * (12 + 8 * ceil(sum(coalesce(w.width, 8)) / 8)) / (8192 - 40) / 0.9)
               * 8192 + 8192 AS needed
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_class t ON t.oid = i.indrelid
    JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
    CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
    -- A column's statistics are its table's, an expression's the index's own.
    JOIN pg_attribute a ON (k.attnum <> 0 AND a.attrelid = i.indrelid AND a.attnum = k.attnum)
                        OR (k.attnum = 0 AND a.attrelid = i.indexrelid AND a.attnum = k.place)
    LEFT JOIN widths w ON w.attname = a.attname
                      AND w.tablename = CASE k.attnum WHEN 0 THEN c.relname ELSE t.relname END
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'i' AND c.reltuples > 0
    GROUP BY c.oid, c.relname, c.reltuples
)
SELECT relname, kind, bytes, greatest(0, bytes - needed)::bigint
FROM (SELECT * FROM tables UNION ALL SELECT * FROM btrees) AS both_kinds
ORDER BY 4 DESC, 1
""")
_MEASURED = text("""
SELECT c.relname, 'table', a.table_len, a.approx_free_space + a.dead_tuple_len
FROM pg_class c CROSS JOIN LATERAL pgstattuple_approx(c.oid) a
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'm')
UNION ALL
SELECT c.relname, 'index', s.index_size,
       (s.empty_pages + s.deleted_pages) * 8192
           + (s.leaf_pages * 8192 * greatest(0, 90 - s.avg_leaf_density) / 100)::bigint
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
CROSS JOIN LATERAL pgstatindex(c.oid) s
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'i' AND i.indisvalid
  AND s.avg_leaf_density <> 'NaN'
ORDER BY 4 DESC, 1
""")
_CAN_MEASURE = text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pgstattuple')")


async def bloat(db: AsyncConnection) -> Bloat:
    """Look at all tables and B-tree indexes of the product."""
    measured = bool((await db.execute(_CAN_MEASURE)).scalar_one())
    rows = await db.execute(_MEASURED if measured else _ESTIMATED)
    return Bloat(measured, [Bloated(*row) for row in rows])
