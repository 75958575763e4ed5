"""The cluster's database, made ready and emptied for tests."""

import os
from typing import Final

import asyncpg
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import mercenary.app
import mercenary.cdn.tables  # noqa: F401 - whoever has tables declares them
from mercenary.db.distribution import distribute
from mercenary.db.metadata import metadata, views
from mercenary.db.migrate import upgrade
from mercenary.db.uri import asyncpg_url

VARIABLE: Final = "CITUS_TEST_URI"
"""Names the database: the coordinator's address. All that is in it is removed."""


def cluster_uri() -> str | None:
    """The address of the cluster's database; None where none is given."""
    return os.environ.get(VARIABLE)


async def prepare(uri: str) -> str:
    """Migrate and distribute what isn't yet; the address again.

    Raises:
        ValueError: the database isn't called one for tests.
    """
    if "test" not in (make_url(uri).database or ""):
        raise ValueError(f"all rows are removed, so the database's name must hold «test»: {uri}")
    await upgrade(uri)
    engine = create_async_engine(asyncpg_url(uri), poolclass=NullPool)
    async with engine.connect() as db:
        await distribute(db, metadata, tell=lambda _: None)
    await engine.dispose()
    return uri


async def empty(uri: str) -> None:
    """Remove all rows, as in a database that was just migrated."""
    connection = await asyncpg.connect(uri)
    try:
        await connection.execute(f"TRUNCATE {', '.join(metadata.tables)}")
        await connection.execute("INSERT INTO stats_refreshes (id, refreshed_at) VALUES (1, now())")
        for view in views.tables:
            await connection.execute(f"REFRESH MATERIALIZED VIEW {view}")
    finally:
        await connection.close()
