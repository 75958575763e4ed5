"""The product's own standbys beside a primary, and what is done to them here."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]
from sqlalchemy import make_url

from mercenary.local.account import serving_account
from mercenary.local.children import wait_until
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.replication import Cluster


@contextmanager
def running(folder: Path, replicas: int, synchronous: int = 0) -> Iterator[Cluster]:
    """A primary and its standbys in a folder, of whom so many hold each commit."""
    cluster = Cluster(
        folder,
        replicas,
        synchronous,
        logs=folder,
        account=serving_account(),
        connections=100,
    )
    try:
        cluster.start_primary()
        cluster.start_standbys(lambda _: None)
        yield cluster
    finally:
        for server in (*cluster.standbys, cluster.primary):
            server.stop()


def address(server: EmbeddedPostgres, database: str) -> str:
    """Where one of a server's databases is."""
    return make_url(server.uri).set(database=database).render_as_string(hide_password=False)


def processes(server: EmbeddedPostgres) -> list[int]:
    """The ids of all processes of a server."""
    first = psutil.Process(server.child.pid)
    return [each.pid for each in (first, *first.children(recursive=True))]


def kill(server: EmbeddedPostgres) -> None:
    """End a server as a power cut would."""
    for each in processes(server):
        os.kill(each, signal.SIGKILL)
    wait_until(lambda: server.child.pid is None, 20.0)


@contextmanager
def frozen(server: EmbeddedPostgres) -> Iterator[None]:
    """A server whose every process stands still within the block."""
    stopped = processes(server)
    for each in stopped:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in stopped:
            os.kill(each, signal.SIGCONT)


@contextmanager
def setting(server: EmbeddedPostgres, name: str, value: str) -> Iterator[None]:
    """A server with another option within the block."""
    server.run_sql(f"ALTER SYSTEM SET {name} = '{value}'")
    server.run_sql("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        server.run_sql(f"ALTER SYSTEM RESET {name}")
        server.run_sql("SELECT pg_reload_conf()")


@asynccontextmanager
async def paused(uri: str) -> AsyncIterator[None]:
    """A replica that replays nothing within the block."""
    connection = await asyncpg.connect(uri)
    try:
        await connection.execute("SELECT pg_wal_replay_pause()")
        while not await connection.fetchval("SELECT pg_get_wal_replay_pause_state() = 'paused'"):
            pass  # what replays has still to notice
        yield
    finally:
        await connection.execute("SELECT pg_wal_replay_resume()")
        await connection.close()
