"""What a process keeps, in two sections by the guide's `CACHE_CONFIG`.

`default` holds finished answers and query results, `session` whether sessions live. Both go by the
same clocks. Opened by the application's lifespan and found by `current()`. What they count is put
on the host's scoreboard, with what the pool of the database does.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from mercenary.cache import clocks, counters, valkey
from mercenary.cache.clocks import Clocks, path_for
from mercenary.cache.listener import Listener
from mercenary.cache.memory import Memory
from mercenary.cache.scoreboard import Scoreboard
from mercenary.cache.shelf import Shelf
from mercenary.cache.tiers import Tiers
from mercenary.cache.valkey import Valkey
from mercenary.errors import Unavailable
from mercenary.settings import Settings

log = structlog.get_logger()

SESSION_SHARE: Final = 4
"""This part of the memory for answers is given to sessions besides."""
WRITE_SECONDS: Final = 1.0
"""Between two writes of the counters."""


class Caches:
    """A process's caches, its subscription, and its map of the host's clocks.

    Raises:
        OSError: the host's clocks can't be opened.
    """

    def __init__(
        self,
        settings: Settings,
        database_uri: str,
        database_counts: Callable[[], Mapping[str, float]],
    ) -> None:
        path = path_of(settings, database_uri)
        self._database_counts = database_counts
        self.clocks = Clocks(path)
        self.scoreboard = Scoreboard(path, counters.NAMES)
        self._writing: asyncio.Task[None] | None = None
        config = settings.cache_config
        self._session_valkey = Valkey(
            config.session.cache_redis_url, seconds=settings.valkey_timeout
        )
        self.memory: Memory[Any] = Memory(settings.cache_memory_bytes)
        deadline = settings.request_deadline
        self.answers = Tiers(
            self.clocks,
            self.memory,
            Shelf(valkey.current()),
            config.default.cache_default_timeout,
            deadline,
        )
        self.sessions = Tiers(
            self.clocks,
            Memory(settings.cache_memory_bytes // SESSION_SHARE),
            Shelf(self._session_valkey, valkey.current()),
            config.session.cache_default_timeout,
            deadline,
        )
        self.listener = Listener(config.default.cache_redis_url, self.clocks)

    def start(self) -> None:
        """Begin to hear of changes, and to tell what is counted."""
        clocks.use(self.clocks)
        self.listener.start()
        if not self.scoreboard.claim():
            log.warning("the host's scoreboard is full; what this process counts isn't told")
        self._writing = asyncio.create_task(self._write_counters(), name="cache counters")

    async def close(self) -> None:
        """Let what is under way finish, and give everything back."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})
        await self.listener.close()
        await self.answers.close()
        await self.sessions.close()
        await self._session_valkey.close()
        self._write()
        self.scoreboard.close()
        clocks.use(None)
        self.clocks.close()

    async def _write_counters(self) -> None:
        while True:
            self._write()
            await asyncio.sleep(WRITE_SECONDS)

    def _write(self) -> None:
        self.scoreboard.write(counters.snapshot(self, self._database_counts()))


def path_of(settings: Settings, database_uri: str) -> Path:
    """The file that the processes of this host share, for one database."""
    return settings.shared_memory or path_for(database_uri)


_current: Caches | None = None


def use(caches: Caches | None) -> None:
    """Make these the caches of the process; None when they are closed."""
    global _current
    _current = caches


def current() -> Caches:
    """The caches of the process.

    Raises:
        Unavailable: the application hasn't started, or has stopped.
    """
    if _current is None:
        raise Unavailable("The server is starting or stopping.")
    return _current
