"""`mercenary db sizes` on a server: what a table takes, however it is kept."""

import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from mercenary.db.inspection.sizes import sizes
from mercenary.db.uri import asyncpg_url
from tests.db.conftest import connected


async def test_a_partitioned_table_takes_what_its_partitions_take(empty_uri: str) -> None:
    """It is one line, and its partitions have none of their own."""
    async with connected(empty_uri) as connection:
        await _fill(connection)
        parts = await connection.fetchval(
            "SELECT pg_total_relation_size('halves_1') + pg_total_relation_size('halves_2')"
        )
    engine = create_async_engine(asyncpg_url(empty_uri), poolclass=NullPool)
    async with engine.connect() as asked:
        found = {each.name: each for each in (await sizes(asked)).tables}
    await engine.dispose()
    assert set(found) == {"halves", "whole"}
    assert (found["halves"].total_bytes, found["halves"].rows) == (parts, 1000)
    assert found["whole"].rows == 1000


async def _fill(connection: asyncpg.Connection) -> None:
    await connection.execute("""
        CREATE TABLE whole (id bigint PRIMARY KEY);
        CREATE TABLE halves (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE halves_1 PARTITION OF halves FOR VALUES FROM (0) TO (500);
        CREATE TABLE halves_2 PARTITION OF halves FOR VALUES FROM (500) TO (1000);
        INSERT INTO whole SELECT generate_series(0, 999);
        INSERT INTO halves SELECT generate_series(0, 999);
    """)
    await connection.execute("ANALYZE whole")
    await connection.execute("ANALYZE halves_1")
    await connection.execute("ANALYZE halves_2")
