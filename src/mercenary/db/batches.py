"""Queries that are asked one at a time and travel together.

Declare one in a feature's `queries.py` or `service.py`:

    find_project = read_batch(select_projects)
    add_project = write_batch(insert_projects)

and ask it with `await find_project(id)`. A read maps keys to what was found; equal keys that wait
together are one. A write gets every ask of the batch and one transaction, and gives each ask its
outcome: an answer, or an exception that only that caller sees. Under a request that claims an
idempotency key the write happens once, however often it is asked for (`db/idempotency.py`). What it
records is told to whoever must act on it (`db/outbox.py`).
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary import crash_points, freshness
from mercenary.batching import Batch, Lanes
from mercenary.cache import clocks
from mercenary.db.engine import Database, current
from mercenary.db.faults import as_problem, conflict_of, lost_connection
from mercenary.db.idempotency import Claim, ConflictingKeysError, current_claim, once
from mercenary.db.outbox import insert_events, recording, tags_of
from mercenary.db.pooler import is_pooled
from mercenary.db.time_left import changing_in_time, reading_in_time
from mercenary.errors import ProblemError
from mercenary.freshness import Demand

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")
Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class BatchedQuery(ABC, Generic[Ask, Answer]):
    """A declared query; the batch that carries it lives in the `Database` it is asked of."""

    shares_equal = False

    def __init__(
        self,
        name: str,
        *,
        max_size: int | None,
        order: Callable[[Ask], Any] | None = None,
        parallel: int = 2,
    ) -> None:
        self.name = name
        self._max_size = max_size
        self._order = order
        self._parallel = parallel

    def ask(self, ask: Ask) -> asyncio.Future[Answer]:
        """Ask for one; awaiting the result is waiting for the batch that carries it.

        Raises:
            Overloaded: too many wait already.
            DeadlineExceeded: no outcome within the time left; a write that has begun may commit.
            Unavailable: the database is away.
        """
        return current().batch(self).ask(ask)

    def open(self, database: Database, lanes: Lanes) -> Batch[Ask, Answer]:
        """The batch for one database, bounded by its settings."""
        settings = database.settings

        async def run(asks: Sequence[Ask]) -> Sequence[Answer | Exception]:
            return await self.run(database, asks)

        return Batch(
            run,
            name=self.name,
            lanes=lanes,
            max_size=self._max_size or settings.batch_size,
            max_waiting=settings.batch_waiting,
            parallel=self._parallel,
            deadline=settings.request_deadline,
            share_equal=self.shares_equal,
            order=self._order,
            splits=lambda error: not isinstance(error, ProblemError),
        )

    @abstractmethod
    async def run(self, database: Database, asks: Sequence[Ask]) -> Sequence[Answer | Exception]:
        """Carry one batch to the database and back."""


class ReadBatch(BatchedQuery[Key, Found | None]):
    """Keys in, what was found out; None for a key that isn't there."""

    shares_equal = True
    __call__ = BatchedQuery.ask

    def __init__(
        self,
        select: Callable[[AsyncConnection, Sequence[Key]], Awaitable[Mapping[Key, Found]]],
        *,
        name: str | None = None,
        max_size: int | None = None,
        parallel: int = 2,
        searching: bool = False,
    ) -> None:
        super().__init__(name or select.__name__, max_size=max_size, parallel=parallel)
        self._select = select
        self.searching = searching

    async def run(self, database: Database, asks: Sequence[Key]) -> Sequence[Found | None]:
        """Read all keys; once more on a new connection when the first one had died meanwhile."""
        found = await self.find(database, asks)
        return [found.get(key) for key in asks]

    async def find(self, database: Database, keys: Sequence[Key]) -> Mapping[Key, Found]:
        """What the primary has under these keys."""
        try:
            return await self._read(database, keys)
        except Exception as error:
            if not lost_connection(error):
                raise as_problem(error) from error
            try:
                return await self._read(database, keys)
            except Exception as again:
                raise as_problem(again) from again

    async def _read(self, database: Database, keys: Sequence[Key]) -> Mapping[Key, Found]:
        async with database.searching() if self.searching else database.reading() as connection:
            return await self.read_from(connection, keys, database)

    async def read_from(
        self, connection: AsyncConnection, keys: Sequence[Key], database: Database
    ) -> Mapping[Key, Found]:
        """What a server has under these keys."""
        settings = database.settings
        usual, pooled = settings.statement_timeout, is_pooled(settings)
        async with reading_in_time(connection, usual, pooled=pooled):
            return await self._select(connection, keys)


class ReplicatedRead(ReadBatch[Key, Found]):
    """A read that a replica may answer, too, where it knows of what whoever asks must know of."""

    @cached_property
    def _elsewhere(self) -> "_Elsewhere[Key, Found]":
        return _Elsewhere(self, max_size=self._max_size, parallel=self._parallel)

    def ask(self, ask: Key) -> asyncio.Future[Found | None]:
        """Ask for one, a replica if it will do; awaiting the result is waiting for the batch.

        Raises:
            Overloaded: too many wait already.
            DeadlineExceeded: no outcome within the time left.
            Unavailable: the database is away.
        """
        database = current()
        if database.replicas is not None:
            demand = freshness.current()
            if demand is not None and database.replicas.suiting(demand) is not None:
                return database.batch(self._elsewhere).ask((ask, demand))
        return database.batch(self).ask(ask)

    __call__ = ask


class _Elsewhere(BatchedQuery[tuple[Key, Demand], Found | None]):
    """The same read where a replica answers: each key with what its answer must know of."""

    shares_equal = True

    def __init__(self, read: ReadBatch[Key, Found], *, max_size: int | None, parallel: int) -> None:
        super().__init__(f"{read.name}@replica", max_size=max_size, parallel=parallel)
        self._read = read

    async def run(
        self, database: Database, asks: Sequence[tuple[Key, Demand]]
    ) -> Sequence[Found | None]:
        """Read from a replica that knows enough for all; where that fails, from the primary."""
        read, keys = self._read, list(dict.fromkeys(key for key, _ in asks))
        demand = Demand(max(need.lsn for _, need in asks), max(need.moment for _, need in asks))
        found: Mapping[Key, Found] | None = None
        if database.replicas is not None:
            try:
                found = await database.replicas.read(
                    demand,
                    lambda connection: read.read_from(connection, keys, database),
                    planning=read.searching,
                )
            except Exception as error:
                raise as_problem(error) from error
        if found is None:
            found = await read.find(database, keys)
        return [found.get(key) for key, _ in asks]


class WriteBatch(BatchedQuery[tuple[Ask, Claim | None], Answer]):
    """Asks in, outcomes out, one transaction: what it answers has been committed."""

    def __init__(
        self,
        change: Callable[[AsyncConnection, Sequence[Ask]], Awaitable[Sequence[Answer | Exception]]],
        *,
        max_size: int | None = None,
        order: Callable[[Ask], Any] | None = None,
    ) -> None:
        super().__init__(
            change.__name__,
            max_size=max_size,
            order=None if order is None else lambda claimed: order(claimed[0]),
        )
        self._change = change

    def __call__(self, ask: Ask) -> asyncio.Future[Answer]:
        """Ask for one change, under the claim of the request under way if it has one.

        Raises:
            Overloaded: too many wait already.
            DeadlineExceeded: no outcome within the request's deadline; a write may still commit.
            Unavailable: the database is away.
            ReplayedError: the claim's write has happened before.
        """
        return self.ask((ask, current_claim.get()))

    async def run(
        self, database: Database, asks: Sequence[tuple[Ask, Claim | None]]
    ) -> Sequence[Answer | Exception]:
        """Change and commit; once more when nothing was committed for a reason that passes."""
        try:
            return await self._write(database, asks)
        except (_NothingCommittedError, ConflictingKeysError):
            try:
                return await self._write(database, asks)
            except _NothingCommittedError as again:
                raise as_problem(again.reason) from again.reason

    async def _write(
        self, database: Database, asks: Sequence[tuple[Ask, Claim | None]]
    ) -> Sequence[Answer | Exception]:
        committing = False
        tags: list[str] = []
        table = clocks.current()
        stamp = table.fresh()
        try:
            async with database.writing() as connection, connection.begin() as transaction:
                crash_points.reach("before-change")
                async with changing_in_time(connection, database.settings.statement_timeout):
                    with recording() as events:
                        outcomes = await once(connection, asks, self._change)
                    await insert_events(connection, events, stamp)
                crash_points.reach("before-commit")
                tags = tags_of(events)
                table.begin(tags, stamp)
                committing = True
                await transaction.commit()
            crash_points.reach("after-commit")
            table.settle(tags, stamp)  # before anybody is told
        except Exception as error:
            lost = lost_connection(error)
            if not (lost and committing):  # where it may have been committed, the marks stay
                table.settle(tags, stamp)
            if lost and not committing:
                raise _NothingCommittedError(error) from error
            problem = as_problem(error)
            raise (conflict_of(problem) if len(asks) == 1 else problem) from error
        return outcomes


class _NothingCommittedError(Exception):
    """The connection was lost before COMMIT, so PostgreSQL has rolled the batch back."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


def read_batch(
    select: Callable[[AsyncConnection, Sequence[Key]], Awaitable[Mapping[Key, Found]]],
    *,
    name: str | None = None,
    max_size: int | None = None,
    parallel: int = 2,
    searching: bool = False,
    replicated: bool = False,
) -> ReadBatch[Key, Found]:
    """Let callers ask `select` for one key and travel with the others.

    `searching` has the statements planned for their values, and at most `parallel` batches are
    under way at once. Only a `replicated` one is ever answered by a replica: what everybody may
    see, and neither money, nor who may do what.
    """
    kind = ReplicatedRead if replicated else ReadBatch
    return kind(select, name=name, max_size=max_size, parallel=parallel, searching=searching)


def write_batch(
    change: Callable[[AsyncConnection, Sequence[Ask]], Awaitable[Sequence[Answer | Exception]]],
    *,
    max_size: int | None = None,
    order: Callable[[Ask], Any] | None = None,
) -> WriteBatch[Ask, Answer]:
    """Let callers ask `change` for one change; `order` is the key by which rows get locked."""
    return WriteBatch(change, max_size=max_size, order=order)
