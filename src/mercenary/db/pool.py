"""The pool of a process: SQLAlchemy's own, which also counts and asks before it lends.

`Database` opens it and tells its figures by `NAMES`. They are on the host's scoreboard, beside what
caches count, so `mercenary db pool` and Prometheus read them of every worker.
    pool_size, pool_most     connections that are kept, and that there may be at most
    pool_in_use              working for somebody
    pool_standing            kept by batches between two of them (`db/standing.py`)
    pool_idle                in the pool
    pool_overflow            beyond `pool_size`
    pool_waiting             callers who wait for one
    pool_waited_total        callers who had to
    pool_timeouts_total      and of these, who got none within `pool_timeout`
    pool_opened_total, pool_closed_total
    pool_recycled_total      closed at the age of `pool_recycle`
    pool_invalidated_total   closed because they had failed
    pool_pings_total, pool_pings_failed_total
                             idle ones that were asked whether they live, and those that didn't
"""

import time
from dataclasses import dataclass, fields
from typing import Any, Final, cast

import asyncpg
from sqlalchemy import event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry

from mercenary.database_settings import DatabaseSettings

PING_SECONDS: Final = 1.0
"""How long a connection may take to show that it lives."""
UNANSWERED: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What a ping ends with on a connection that is no use any more."""

_OPENED: Final = "opened"
_IDLE: Final = "idle since"


@dataclass(slots=True)
class PoolMeasures:
    """What the pool has counted since the process started; see the module for each."""

    waited: int = 0
    timeouts: int = 0
    opened: int = 0
    closed: int = 0
    recycled: int = 0
    invalidated: int = 0
    pings: int = 0
    pings_failed: int = 0


_GAUGES: Final = ("size", "most", "in_use", "standing", "idle", "overflow", "waiting")
_COUNTERS: Final = tuple(each.name for each in fields(PoolMeasures))
NAMES: Final = (
    *(f"pool_{name}" for name in _GAUGES),
    *(f"pool_{name}_total" for name in _COUNTERS),
)
"""Every name of `CountedPool.snapshot`, in its order."""


class CountedPool(AsyncAdaptedQueuePool):
    """A pool under the guide's options. `watch` must be called once it is made."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.measures = PoolMeasures()
        self.waiting = 0

    def recreate(self) -> "CountedPool":
        """A new one, empty, when this one is disposed of; it goes on counting."""
        another: CountedPool = super().recreate()  # type: ignore[assignment]
        another.measures = self.measures
        return another

    def watch(self, settings: DatabaseSettings) -> None:
        """Count what happens to connections, and ping idle ones by the settings' policy."""
        measures, recycle = self.measures, settings.sqlalchemy_engine_options.pool_recycle
        limit = ping_after(settings)

        def opened(_: Any, entry: ConnectionPoolEntry) -> None:
            measures.opened += 1
            entry.info[_OPENED] = time.monotonic()

        def closed(_: Any, entry: ConnectionPoolEntry) -> None:
            measures.closed += 1
            measures.recycled += 0 <= recycle < time.monotonic() - entry.info[_OPENED]

        def invalidated(*_: Any) -> None:
            measures.invalidated += 1

        def returned(_: Any, entry: ConnectionPoolEntry) -> None:
            entry.info[_IDLE] = time.monotonic()

        def lent(connection: Any, entry: ConnectionPoolEntry, _: Any) -> None:
            since = entry.info.pop(_IDLE, None)
            if since is None or time.monotonic() - since < limit:
                return
            try:
                connection.run_async(self.ping)
            except UNANSWERED as error:
                # What killed one has killed those of its age: the pool opens another.
                raise InvalidatePoolError from error

        event.listen(self, "connect", opened)
        event.listen(self, "close", closed)
        event.listen(self, "invalidate", invalidated)
        event.listen(self, "checkin", returned)
        event.listen(self, "checkout", lent)

    async def ping(self, connection: "asyncpg.Connection") -> None:
        """Ask a connection whether it lives.

        By the simple protocol, which is one trip and needs no transaction behind a pooler.
        Raises one of `UNANSWERED` where it doesn't.
        """
        self.measures.pings += 1
        try:
            await connection.execute("SELECT", timeout=PING_SECONDS)
        except UNANSWERED:
            self.measures.pings_failed += 1
            raise

    def snapshot(self, standing: int) -> dict[str, float]:
        """All figures by `NAMES`, where `standing` of those that are out do nothing."""
        values = (
            self.size(),
            self.size() + self._max_overflow,
            self.checkedout() - standing,
            standing,
            self.checkedin(),
            max(0, self.overflow()),
            self.waiting,
            *(getattr(self.measures, name) for name in _COUNTERS),
        )
        return dict(zip(NAMES, map(float, values), strict=True))

    def _do_get(self) -> ConnectionPoolEntry:
        if self.checkedin() or self.overflow() < self._max_overflow:
            return super()._do_get()
        self.measures.waited += 1
        self.waiting += 1
        try:
            return super()._do_get()
        except PoolTimeout:
            self.measures.timeouts += 1
            raise
        finally:
            self.waiting -= 1


def pool_of(engine: AsyncEngine) -> CountedPool:
    """The pool of an engine that `Database` has made."""
    return cast(CountedPool, engine.pool)


def ping_after(settings: DatabaseSettings) -> float:
    """The seconds of idleness after which a connection is asked before it is used."""
    policy = settings.sqlalchemy_engine_options.pool_pre_ping
    if policy == "idle":
        return settings.pool_ping_after
    return 0.0 if policy in (True, "always") else float("inf")
