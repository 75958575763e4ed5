"""The application behind PgBouncer in transaction mode, with fewer server connections than its own.

What a test itself asks of `database_uri` goes straight to PostgreSQL.
"""

import os
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

from mercenary import settings
from mercenary.app import Application
from mercenary.database_settings import EngineOptions
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.valkey import EmbeddedValkey
from tests.conftest import server_folder
from tests.pooled.pgbouncer import PgBouncer

SERVER_CONNECTIONS = 5


@pytest.fixture(scope="package")
def pgbouncer(postgres: EmbeddedPostgres) -> Iterator[PgBouncer]:
    """A PgBouncer of five connections to each database."""
    with server_folder() as folder:
        folder.chmod(0o755)
        server = PgBouncer(folder, postgres, size=SERVER_CONNECTIONS)
        server.child.start()
        yield server
        server.child.stop()


@pytest.fixture(scope="module")
async def application(
    database_uri: str, valkey: EmbeddedValkey, pgbouncer: PgBouncer
) -> AsyncIterator[Application]:
    """The application on the module's database, through PgBouncer."""
    os.environ["CACHE_CONFIG"] = valkey.cache_config
    os.environ["SQLALCHEMY_DATABASE_URI"] = database_uri
    settings.get.cache_clear()
    options = msgspec.structs.replace(
        settings.get(),
        pooler="transaction",
        sqlalchemy_engine_options=EngineOptions(pool_size=8, max_overflow=4),
    )
    application = Application(options, pgbouncer.uri(database_uri))
    await application.start()
    yield application
    await application.stop()
