"""The database as one worker sees it: a pool, the lanes its batches share, and the way in and out.

There is one `Database` a process. It is opened by the application's lifespan and found by
`current()`, so that a query can be declared at import and asked wherever it is needed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from mercenary.batching import Batch, Lanes
from mercenary.db.discretion import keep_values_out
from mercenary.db.ids import IdBlocks
from mercenary.db.pool import CountedPool, pool_of
from mercenary.db.pooler import connect_args, is_pooled
from mercenary.db.replicas import Replica, Replicas, snapshot
from mercenary.db.standing import Standing
from mercenary.db.topology import Topology
from mercenary.db.uri import asyncpg_url
from mercenary.errors import Unavailable
from mercenary.settings import Settings


class Batched(Protocol):
    """A query that is asked in a batch (`db/batches.py` declares them)."""

    @property
    def name(self) -> str:
        """What the batch's measures go by."""

    def open(self, database: "Database", lanes: Lanes) -> Batch[Any, Any]:
        """A batch that carries the query to this database."""


class Database:
    """A pool under the guide's options, two to four lanes for batches, and one batch a query."""

    def __init__(self, settings: Settings, uri: str) -> None:
        self.settings = settings
        self.engine = _engine(settings, uri)
        self.ids = IdBlocks()
        options = settings.sqlalchemy_engine_options
        connections = options.pool_size + options.max_overflow
        lanes = min(settings.batch_lanes, max(1, connections // 2))
        # What readers keep must leave a connection for each lane that writes, and the other way.
        room = min(lanes, connections - lanes)
        self._readers = Standing(_reading(self.engine, settings), room, settings)
        self._writers = Standing(self.engine, room, settings)
        self.replicas = self._replicas(room) if settings.replica_uris else None
        self._lanes = Lanes(lanes)
        self._batches: dict[Batched, Batch[Any, Any]] = {}

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection on which each statement sees what is committed by then."""
        return self._readers.lend(planning=False)

    def searching(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """As `reading`, and each statement is planned for its values.

        PostgreSQL plans a prepared statement once, for any values, which is right where an index
        leads to the rows. It is wrong by a factor of a thousand where the best way depends on how
        many rows a value finds; a plan for the values costs a fraction of a millisecond.
        """
        return self._readers.lend(planning=True)

    def writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for a batch, which begins a transaction and commits it."""
        return self._writers.lend(planning=False)

    def connecting(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for whoever comes alone, to begin a transaction and commit it."""
        return self.engine.connect()

    def without_transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for what refuses to run within a transaction, such as VACUUM."""
        return self.engine.execution_options(isolation_level="AUTOCOMMIT").connect()

    @asynccontextmanager
    async def taking_time(self, seconds: float) -> AsyncIterator[AsyncConnection]:
        """A connection of its own, outside of the pool, whose statements may take `seconds`."""
        topology = Topology(sharded=self.settings.sharded)
        engine = create_async_engine(
            self.engine.url,
            poolclass=NullPool,
            hide_parameters=True,
            execution_options=topology.options,
            connect_args=connect_args(self.settings, seconds),
        )
        keep_values_out(engine)
        topology.watch(engine)
        try:
            async with engine.connect() as connection:
                yield connection
        finally:
            await engine.dispose()

    def batch(self, query: Batched) -> Batch[Any, Any]:
        """The one batch in which this process asks `query`."""
        batch = self._batches.get(query)
        if batch is None:
            batch = self._batches[query] = query.open(self, self._lanes)
        return batch

    @property
    def batches(self) -> dict[str, Batch[Any, Any]]:
        """Each batch in use, by the name of its query: what is measured about them."""
        return {query.name: batch for query, batch in self._batches.items()}

    def counts(self) -> dict[str, float]:
        """What the pool to the primary has counted and holds, by `pool.NAMES`, and what became of
        reads that replicas may answer, by `replicas.NAMES`."""
        pool = pool_of(self.engine).snapshot(len(self._readers) + len(self._writers))
        return pool | snapshot(self.replicas)

    async def close(self) -> None:
        """Let every batch finish, then give the connections back."""
        for batch in self._batches.values():
            batch.close()
        await asyncio.gather(*(batch.drain() for batch in self._batches.values()))
        if self.replicas is not None:
            await self.replicas.close()
        await self._readers.close()
        await self._writers.close()
        await self.engine.dispose()

    def _replicas(self, room: int) -> Replicas:
        settings = self.settings
        replicas = []
        for uri in settings.replica_uris:
            engine = _engine(settings, uri)
            # One for whoever asks how far it is.
            standing = Standing(_reading(engine, settings), room + 1, settings)
            replicas.append(Replica(engine.url.render_as_string(), engine, standing))
        return Replicas(self.reading, replicas, settings.replica_lag, settings.replica_probe)


def _engine(settings: Settings, uri: str) -> AsyncEngine:
    options = settings.sqlalchemy_engine_options
    topology = Topology(sharded=settings.sharded)
    engine = create_async_engine(
        asyncpg_url(uri),
        poolclass=CountedPool,
        pool_size=options.pool_size,
        max_overflow=options.max_overflow,
        # Nobody waits longer for an answer, so no batch shall for a connection.
        pool_timeout=min(options.pool_timeout, settings.request_deadline),
        pool_recycle=options.pool_recycle,
        pool_use_lifo=options.pool_use_lifo,
        hide_parameters=True,
        execution_options=topology.options,
        connect_args=connect_args(settings, settings.statement_timeout),
    )
    keep_values_out(engine)
    topology.watch(engine)
    pool_of(engine).watch(settings)
    return engine


def _reading(engine: AsyncEngine, settings: Settings) -> AsyncEngine:
    """The engine whose statements need no transaction, but where a pooler needs one for bounds."""
    return engine if is_pooled(settings) else engine.execution_options(isolation_level="AUTOCOMMIT")


_current: Database | None = None


def use(database: Database | None) -> None:
    """Make this the database of the process; None when it is closed."""
    global _current
    _current = database


def current() -> Database:
    """The database of the process.

    Raises:
        Unavailable: the application hasn't started, or has stopped.
    """
    if _current is None:
        raise Unavailable("The server is starting or stopping.")
    return _current
