"""Real servers for every test: one PostgreSQL and one Valkey a session, a database a module."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.generous import GENEROUS

# Before anything reads the settings.
os.environ |= GENEROUS | {"MERCENARY_LOG_LEVEL": "error"}

import asyncpg
import httpx
import msgspec
import pytest
from sqlalchemy import Executable, TextClause, event, make_url

from mercenary import settings
from mercenary.app import Application
from mercenary.cache import clocks
from mercenary.cache.announcer import Announcer
from mercenary.cache.clocks import path_for
from mercenary.cache.valkey import Valkey
from mercenary.catalogue import QUERIES
from mercenary.db import engine
from mercenary.db.migrate import upgrade
from mercenary.events.relay import Relay, database_for
from mercenary.events.sinks import Caches
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.stack import temporary_folder
from mercenary.local.valkey import EmbeddedValkey
from tests.distribution import LongestFirst

TEMPLATE = "mercenary_template"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst:
    """Who runs which tests under `pytest -n`."""
    return LongestFirst(config, log)


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey for the session."""
    with server_folder() as folder:
        server = EmbeddedValkey(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL for the session."""
    with server_folder() as folder:
        server = EmbeddedPostgres(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
async def template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database to copy."""
    await make_template(postgres)
    return TEMPLATE


async def make_template(server: EmbeddedPostgres) -> None:
    """Make TEMPLATE on a server where it is missing."""
    there = f"SELECT EXISTS (SELECT FROM pg_database WHERE datname = '{TEMPLATE}')"
    if server.run_sql(there) == "f":
        await _run(server.uri, f"CREATE DATABASE {TEMPLATE}")
        await upgrade(_database(server.uri, TEMPLATE))


@pytest.fixture(scope="module")
async def database_uri(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """A migrated, empty database for the module's tests."""
    name = f"test_{uuid4().hex}"
    await _run(postgres.uri, f"CREATE DATABASE {name} TEMPLATE {template}")
    uri = _database(postgres.uri, name)
    yield uri
    await _run(postgres.uri, f"DROP DATABASE {name} WITH (FORCE)")
    path_for(uri).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def changed_settings() -> dict[str, Any]:
    """Settings by their fields' names; a module that wants other ones has a fixture of its own."""
    return {}


@pytest.fixture(scope="module")
async def application(
    database_uri: str, valkey: EmbeddedValkey, changed_settings: dict[str, Any]
) -> AsyncIterator[Application]:
    """The application, started on the module's database."""
    os.environ["CACHE_CONFIG"] = valkey.cache_config
    os.environ["SQLALCHEMY_DATABASE_URI"] = database_uri
    settings.get.cache_clear()
    options = msgspec.structs.replace(settings.get(), **changed_settings)
    application = Application(options, database_uri)
    await application.start()
    event.listen(engine.current().engine.sync_engine, "before_execute", insist_on_a_name)
    yield application
    await application.stop()


def insist_on_a_name(_: object, statement: Executable, *__: object) -> None:
    """Whatever the application asks is a query of the catalogue.

    But for text, which sets something, or is a test's own: `tools/check_sql.py` looks for the
    product's.
    """
    if QUERIES.name_of(statement) is None and not isinstance(statement, TextClause):
        raise LookupError(f"a query without a name: {statement}")


@pytest.fixture(scope="module")
async def relay(application: Application, valkey: EmbeddedValkey) -> AsyncIterator[Relay]:
    """A relay beside the application, in whose Valkey nothing is kept from another database."""
    way = Valkey(valkey.url(), seconds=5.0)
    await way.ask(lambda redis: redis.flushall())
    database = database_for(application.settings, application.database_uri)
    relay = Relay(database, [Caches(Announcer(way, clocks.current()))])
    stopping = asyncio.Event()
    start = time.monotonic()
    task = asyncio.create_task(relay.run(stopping), name="relay")
    async with asyncio.timeout(10):
        while clocks.current().heard < start:  # noqa: ASYNC110 - it comes by Valkey
            await asyncio.sleep(0.01)
    yield relay
    stopping.set()
    await task
    await database.close()
    await way.close()


@pytest.fixture(scope="module")
async def client(application: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A guest's client."""
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://mercenary") as client:
        yield client


class Statements(list[str]):
    """What the database was asked while it was recorded."""

    @contextmanager
    def recorded(self) -> Iterator["Statements"]:
        """Record from here on, anew."""
        self.clear()
        target = engine.current().engine.sync_engine

        def record(*arguments: object) -> None:
            self.append(str(arguments[2]))

        event.listen(target, "before_cursor_execute", record)
        try:
            yield self
        finally:
            event.remove(target, "before_cursor_execute", record)


@pytest.fixture
def statements(application: Application) -> Statements:
    """Records the statements of a block: `with statements.recorded(): …; len(statements)`."""
    return Statements()


def _database(uri: str, name: str) -> str:
    return make_url(uri).set(database=name).render_as_string(hide_password=False)


async def _run(uri: str, statement: str) -> None:
    connection = await asyncpg.connect(uri)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for servers of another account, which root's are, until the block ends.

    None of pytest's: every run of pytest closes the folder above them all to other accounts, also
    to the servers of another run that isn't over.
    """
    folder = temporary_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
