"""Health: what each endpoint says while the servers behind the API come and go."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest

from mercenary import __version__, settings
from mercenary.app import Application
from mercenary.db import engine
from mercenary.db.migrate import upgrade
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.valkey import EmbeddedValkey

NOBODY_LISTENS = "127.0.0.1:1"
Serving = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
async def serving(
    monkeypatch: pytest.MonkeyPatch, database_uri: str, valkey: EmbeddedValkey
) -> AsyncIterator[Serving]:
    """Starts the application on other servers than those that are there."""

    @asynccontextmanager
    async def serve(
        database: str = database_uri, cache: str | None = None
    ) -> AsyncIterator[httpx.AsyncClient]:
        config = {"default": {"CACHE_REDIS_URL": cache}} if cache else None
        known = msgspec.json.encode(config).decode() if config else valkey.cache_config
        monkeypatch.setenv("CACHE_CONFIG", known)
        settings.get.cache_clear()
        application = Application(settings.get(), database)
        await application.start()
        try:
            transport = httpx.ASGITransport(application)
            async with httpx.AsyncClient(transport=transport, base_url="http://health") as client:
                yield client
        finally:
            await application.stop()

    yield serve
    settings.get.cache_clear()


@asynccontextmanager
async def mute_server() -> AsyncIterator[str]:
    """The address of a server that takes connections and never says a word."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
            await writer.wait_closed()


async def summary(client: httpx.AsyncClient, status: int) -> dict[str, Any]:
    """The answer of /health, which must come with this status."""
    answer = await client.get("/health")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    return body


async def assert_not_ready(client: httpx.AsyncClient, detail: str) -> None:
    """That /readyz says so as a problem, and when to ask again."""
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["detail"] == detail


async def assert_alive(client: httpx.AsyncClient) -> None:
    """That /livez says so."""
    answer = await client.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_all_is_well(serving: Serving) -> None:
    async with serving() as client:
        await assert_alive(client)
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
        health = await summary(client, 200)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", health.pop("timestamp"))
        assert health == {
            "status": "ok",
            "version": __version__,
            "services": {"database": "ok", "cache": "ok"},
        }


async def test_without_the_cache_it_is_slower_and_serves(serving: Serving) -> None:
    async with serving(cache=f"redis://{NOBODY_LISTENS}/0") as client:
        assert (await client.get("/readyz")).status_code == 200
        health = await summary(client, 200)
        assert health["status"] == "degraded"
        assert health["services"] == {"database": "ok", "cache": "unavailable"}


async def test_a_cache_that_hangs_is_away(serving: Serving) -> None:
    async with mute_server() as address, serving(cache=f"valkey://{address}/0") as client:
        assert (await summary(client, 200))["status"] == "degraded"


async def test_without_the_database_it_lives_and_isnt_ready(serving: Serving) -> None:
    async with serving(database=f"postgresql://nobody@{NOBODY_LISTENS}/nothing") as client:
        await assert_alive(client)
        await assert_not_ready(client, "The database can't be reached.")
        health = await summary(client, 503)
        assert health["status"] == "unavailable"
        assert health["services"] == {"database": "unavailable", "cache": "ok"}


async def test_a_database_that_hangs_is_away(serving: Serving) -> None:
    async with mute_server() as address:
        database = f"postgresql://nobody@{address}/nothing"
        async with serving(database=database) as client:
            await assert_not_ready(client, "The database doesn't answer.")
            assert (await summary(client, 503))["status"] == "unavailable"


async def test_nothing_of_the_servers_shows(serving: Serving) -> None:
    async with serving(database=f"postgresql://secret@{NOBODY_LISTENS}/hidden") as client:
        for path in ("/readyz", "/health"):
            text = (await client.get(path)).text
            assert not any(word in text for word in ("secret", "hidden", "127.0.0.1", "asyncpg"))


async def test_ready_means_migrated(
    serving: Serving, postgres: EmbeddedPostgres, database_uri: str
) -> None:
    """A database that was never migrated isn't ready, and is as soon as it was."""
    name = f"empty_{uuid4().hex}"
    server = await asyncpg.connect(postgres.uri)
    try:
        await server.execute(f"CREATE DATABASE {name}")
        empty = re.sub(r"/test_[0-9a-f]+", f"/{name}", database_uri)
        async with serving(database=empty) as client:
            await assert_not_ready(client, "The database's schema isn't current.")
            assert (await summary(client, 200))["services"]["database"] == "ok"
            await upgrade(empty)
            assert (await client.get("/readyz")).status_code == 200
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


async def test_a_later_release_may_migrate_while_this_one_serves(
    serving: Serving, database_uri: str
) -> None:
    connection = await asyncpg.connect(database_uri)
    try:
        async with serving() as client:
            assert (await client.get("/readyz")).status_code == 200
            before = await connection.fetchval("SELECT version_num FROM alembic_version")
            await connection.execute("UPDATE alembic_version SET version_num = 'later'")
            assert (await client.get("/readyz")).status_code == 200
        async with serving() as client:
            await assert_not_ready(client, "The database's schema isn't current.")
        await connection.execute("UPDATE alembic_version SET version_num = $1", before)
    finally:
        await connection.close()


async def test_a_database_that_was_restarted_is_ready_at_once(
    serving: Serving, database_uri: str
) -> None:
    """Every pooled connection is dead then; the first probe already gets a new one."""
    connection = await asyncpg.connect(database_uri)
    try:
        async with serving() as client:
            assert (await client.get("/readyz")).status_code == 200
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'mercenary'"
            )
            assert (await client.get("/readyz")).status_code == 200
    finally:
        await connection.close()


async def test_a_thousand_probes_hold_one_connection(serving: Serving) -> None:
    async with mute_server() as address:
        database = f"postgresql://nobody@{address}/nothing"
        async with serving(database=database) as client:
            answers = await asyncio.gather(*(client.get("/readyz") for _ in range(1000)))
            assert {answer.status_code for answer in answers} == {503}
            assert engine.current().engine.pool.checkedout() <= 1  # type: ignore[attr-defined]
