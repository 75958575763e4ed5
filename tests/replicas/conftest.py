"""A primary with two streaming replicas, for these tests alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from math import inf
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import make_url

from mercenary.app import Application
from mercenary.cache import valkey as valkey_of_the_process
from mercenary.cache.clocks import path_for
from mercenary.cache.valkey import Valkey
from mercenary.db import engine
from mercenary.db.migrate import upgrade
from mercenary.db.replicas import Replicas
from mercenary.freshness import Demand
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.replication import Cluster
from tests.conftest import server_folder
from tests.factories import Person, sign_up
from tests.replicas.servers import address, running

PATIENCE = 20.0


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    with server_folder() as folder, running(folder, 2) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def primary(cluster: Cluster) -> EmbeddedPostgres:
    return cluster.primary


@pytest.fixture(scope="package")
def standbys(cluster: Cluster) -> Sequence[EmbeddedPostgres]:
    """Two replicas of the primary."""
    return cluster.standbys


@pytest.fixture(scope="module")
async def database_uri(primary: EmbeddedPostgres) -> AsyncIterator[str]:
    """A migrated, empty database on the primary."""
    name = f"test_{uuid4().hex}"
    primary.run_sql(f"CREATE DATABASE {name}")
    uri = address(primary, name)
    await upgrade(uri)
    yield uri
    primary.run_sql(f"DROP DATABASE {name} WITH (FORCE)")
    path_for(uri).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def replica_uris(database_uri: str, standbys: Sequence[EmbeddedPostgres]) -> tuple[str, ...]:
    name = str(make_url(database_uri).database)
    return tuple(address(server, name) for server in standbys)


@pytest.fixture(scope="module")
def changed_settings(replica_uris: tuple[str, ...]) -> dict[str, Any]:
    """Both are used, however far behind they are: what is behind shall be found out by itself."""
    return {"replica_uris": replica_uris, "replica_lag": 60.0}


@pytest.fixture
async def replicas(application: Application) -> Replicas:
    """The replicas as the application knows them, which uses all of them."""
    found = engine.current().replicas
    assert found is not None
    await known(found, lambda: all(each.fault is None for each in found.replicas))
    return found


@pytest.fixture(scope="module")
async def owner(client: httpx.AsyncClient) -> Person:
    """A client of the marketplace."""
    return await sign_up(client)


async def until(holds: Callable[[], bool], within: float = PATIENCE) -> None:
    """Wait until something holds that nobody tells."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def known(replicas: Replicas, holds: Callable[[], bool]) -> None:
    """Wait until something is known of the replicas, whom somebody asks for meanwhile."""
    await until(lambda: replicas.suiting(Demand()) is not None and holds())


async def caught_up(replicas: Replicas) -> None:
    """Wait until all replicas in use are known to have all that was written until now."""
    now = monotonic() + 0.02  # clocks are dated a few milliseconds ahead

    def have() -> bool:
        return all(each.moment >= now for each in replicas.replicas if each.fault is None)

    await known(replicas, have)


@contextmanager
def answering(replicas: Replicas, least: int, most: float = inf) -> Iterator[None]:
    """Replicas answer so many runs of batches within the block."""
    before = replicas.measures.answered
    yield
    assert least <= replicas.measures.answered - before <= most


async def forget_last_write(person: Person) -> None:
    """Have Valkey know nothing of what somebody wrote."""
    await valkey_of_the_process.current().ask(lambda redis: redis.delete(f"wrote:{person.id}"))


@asynccontextmanager
async def without_valkey() -> AsyncIterator[None]:
    """An application whose Valkey is nowhere."""
    before = valkey_of_the_process.current()
    away = Valkey("redis://127.0.0.1:1/0", seconds=0.05)
    valkey_of_the_process.use(away)
    try:
        yield
    finally:
        valkey_of_the_process.use(before)
        await away.close()
