"""The process's way to Valkey: bounded in connections and in time, and cut off while it is away.

Whoever asks must know what to do without an answer: `ValkeyAway` is no error of the request. It is
opened by the application's lifespan and found by `current()`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from mercenary.errors import Unavailable

T = TypeVar("T")
Argument = bytes | str | int

log = structlog.get_logger()

# Everything travels in batches, so a few connections carry all that a worker asks.
CONNECTIONS = 8
# Between two looks at a Valkey that is away: short at first, since on a busy machine it is often
# no more than a reply that came late, and doubling up to what it stays unused once it is back.
FIRST_PAUSE_SECONDS = 0.01
PAUSE_SECONDS = 0.5
_BACKSTOP_SECONDS = 1.0
_LATE_SECONDS = 0.002


class ValkeyAway(Exception):
    """Valkey can't be reached, refused, or took too long. What was asked may yet be carried out."""


class Script:
    """A Lua script, which Valkey carries out as one step."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class ValkeyMeasures:
    """What one process has seen of Valkey."""

    calls: int = 0
    """Sent, each one trip."""
    failures: int = 0
    """Of them, without an answer in time."""
    spared: int = 0
    """Not sent, because it was away."""


class Valkey:
    """One Valkey. After a call that failed it is left alone until it answers a PING again.

    A single failure is enough, since what comes next would wait as long for nothing; looking after
    it is a task's, so that no request ever waits for a Valkey that is known to be away.
    """

    def __init__(self, url: str, *, seconds: float) -> None:
        self.seconds = seconds
        self.measures = ValkeyMeasures()
        self._redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                redis_url(url),
                max_connections=CONNECTIONS,
                # Behind our own deadline, for what it may not reach.
                timeout=_BACKSTOP_SECONDS,
                socket_timeout=_BACKSTOP_SECONDS,
                socket_connect_timeout=_BACKSTOP_SECONDS,
                # A connection that was idle while Valkey was restarted is gone; a new one isn't.
                retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            )
        )
        self._looking: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        """Whether it would be in vain to ask."""
        return self._looking is not None

    async def ask(self, command: Callable[[Redis], Awaitable[T]]) -> T:
        """What a command or a pipeline answers; at most `seconds` of waiting pass.

        A loop that was busy elsewhere finds the deadline past, and the reply unread behind it. So
        a deadline that is noticed late is put off for one more look at what has arrived.

        Raises:
            ValkeyAway: there is no answer.
        """
        if self._looking is not None:
            self.measures.spared += 1
            raise ValkeyAway("it has been away")
        self.measures.calls += 1
        try:
            async with self._deadline():
                return await command(self._redis)
        # A TimeoutError is an OSError; what isn't the protocol at all may be any ValueError.
        except (RedisError, OSError, ValueError) as error:
            self.measures.failures += 1
            self._leave_alone(error)
            raise ValkeyAway(str(error) or "it took too long") from error

    async def run(
        self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]
    ) -> Any:
        """What a script answers.

        Raises:
            ValkeyAway: there is no answer.
        """

        async def run(redis: Redis) -> Any:
            try:
                return await redis.evalsha(script.digest, len(keys), *keys, *arguments)
            except NoScriptError:  # it was restarted, or has never heard of it
                return await redis.eval(script.text, len(keys), *keys, *arguments)

        return await self.ask(run)

    async def close(self) -> None:
        """Give the connections back."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        until = loop.time() + self.seconds

        def end() -> None:
            now = loop.time()
            late = now - until > _LATE_SECONDS
            timeout.reschedule(now + _LATE_SECONDS if late else now)

        async with asyncio.timeout(None) as timeout:
            timer = loop.call_at(until, end)
            try:
                yield
            finally:
                timer.cancel()

    def _leave_alone(self, error: Exception) -> None:
        if self._looking is None:
            looking = self._look_after(error)
            self._looking = asyncio.create_task(looking, name="valkey is away")

    async def _look_after(self, error: Exception) -> None:
        pause, told = FIRST_PAUSE_SECONDS, False
        while True:
            await asyncio.sleep(pause)
            try:
                async with self._deadline():
                    await self._redis.ping()
            except (RedisError, OSError, ValueError):
                if not told:
                    log.warning("valkey is away", cause=repr(error))
                told = True
                pause = min(2 * pause, PAUSE_SECONDS)
                continue
            self._looking = None
            if told:
                log.warning("valkey is back")
            return


def redis_url(url: str) -> str:
    """An address as redis-py takes it: valkey:// and valkeys:// by Redis's names."""
    return re.sub("^valkey", "redis", url)


_current: Valkey | None = None


def use(valkey: Valkey | None) -> None:
    """Make this the Valkey of the process; None when it is closed."""
    global _current
    _current = valkey


def current() -> Valkey:
    """The Valkey of the process.

    Raises:
        Unavailable: the application hasn't started, or has stopped.
    """
    if _current is None:
        raise Unavailable("The server is starting or stopping.")
    return _current
