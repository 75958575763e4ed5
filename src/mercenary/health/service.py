"""The rules of health: what must answer, within which time, for which status."""

import asyncio
import re
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sqlalchemy.exc import DBAPIError

from mercenary import __version__, settings
from mercenary.db import engine
from mercenary.db.faults import lost_connection
from mercenary.db.migrate import heads
from mercenary.errors import Unavailable
from mercenary.health.probe import Probe
from mercenary.health.queries import select_revisions
from mercenary.health.schemas import Health, Ready, Services, State
from mercenary.http.wire import rfc3339

DATABASE_SECONDS = 1.0
CACHE_SECONDS = 0.5


class Checks:
    """The questions of one process and what it keeps for them."""

    def __init__(self, cache_url: str) -> None:
        self._redis = Redis.from_url(
            # redis-py knows the schemes valkey:// and valkeys:// by Redis's names only.
            re.sub("^valkey", "redis", cache_url),
            socket_connect_timeout=CACHE_SECONDS,
            socket_timeout=CACHE_SECONDS,
            retry=Retry(NoBackoff(), 1),  # a connection that was idle may be gone
            max_connections=1,
        )
        self.database = Probe(_revisions, what="database", seconds=DATABASE_SECONDS)
        self.cache = Probe(self._ping, what="cache", seconds=CACHE_SECONDS)
        self._migrated = False

    async def be_ready(self) -> None:
        """See that the database answers with the schema that this program knows.

        Once it did, it is taken to: a later release migrates while this one still serves.

        Raises:
            Unavailable: it doesn't answer, or migrations are pending.
        """
        revisions = await self.database()
        if not self._migrated:
            self._migrated = revisions == await asyncio.to_thread(heads)
        if not self._migrated:
            raise Unavailable("The database's schema isn't current.", retry_after=5)

    async def close(self) -> None:
        """Give the connections back."""
        await asyncio.gather(self.database.close(), self.cache.close())
        await self._redis.aclose()

    async def _ping(self) -> None:
        await self._redis.ping()


@cache
def checks() -> Checks:
    """Those of this process."""
    return Checks(settings.get().cache_config.default.cache_redis_url)


async def close() -> None:
    """Forget the process's checks and give their connections back; before the database closes."""
    if checks.cache_info().currsize:
        await checks().close()
        checks.cache_clear()


async def readiness() -> Ready:
    """Whether requests can be served.

    Raises:
        Unavailable: the database is away, or its schema isn't current.
    """
    await checks().be_ready()
    return Ready()


async def health() -> Health:
    """The state of everything, however long it has lasted; waits at most a second."""
    database, cache = await asyncio.gather(_state(checks().database), _state(checks().cache))
    status: Literal["ok", "degraded", "unavailable"] = "ok"
    if database == "unavailable":
        status = "unavailable"
    elif cache == "unavailable":
        status = "degraded"
    return Health(status, __version__, rfc3339(datetime.now(UTC)), Services(database, cache))


async def _state(probe: Probe[Any]) -> State:
    try:
        await probe()
    except Unavailable:
        return "unavailable"
    return "ok"


async def _revisions() -> frozenset[str]:
    try:
        return await _read_revisions()
    except DBAPIError as error:
        if not lost_connection(error):
            raise
        # The pool has just dropped every connection of a server that was restarted.
        return await _read_revisions()


async def _read_revisions() -> frozenset[str]:
    async with engine.current().reading() as db:
        return await select_revisions(db)
