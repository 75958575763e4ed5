"""Databases of their own for tests that change the schema or fill it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import make_url

from mercenary.local.postgres import EmbeddedPostgres

NewDatabase = Callable[[str], Awaitable[str]]


@pytest.fixture
async def new_database(postgres: EmbeddedPostgres) -> AsyncIterator[NewDatabase]:
    """Makes a copy of a template and returns its URI; the copy is dropped after the test."""
    async with AsyncExitStack() as stack:

        async def make(template: str) -> str:
            return await stack.enter_async_context(_scratch(postgres.uri, template))

        yield make


@pytest.fixture
async def empty_uri(new_database: NewDatabase) -> str:
    """A database with nothing in it."""
    return await new_database("template1")


@pytest.fixture
async def migrated_uri(new_database: NewDatabase, template: str) -> str:
    """A database with the schema and no rows."""
    return await new_database(template)


@pytest.fixture
async def migrated(migrated_uri: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to such a database."""
    async with connected(migrated_uri) as connection:
        yield connection


@asynccontextmanager
async def connected(uri: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that is closed at the end."""
    connection = await asyncpg.connect(uri)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _scratch(server: str, template: str) -> AsyncIterator[str]:
    name = f"scratch_{uuid4().hex}"
    async with connected(server) as connection:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    async with connected(server) as connection:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
