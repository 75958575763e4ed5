"""Hearing what has changed on other hosts: each worker's side of the clocks.

A `Listener` subscribes to what the relay announces and moves this host's clocks by it. With the
relay's word it notes up to when the host has heard of everything. A word is as old as it says, and
was said after whatever PING of ours was answered before it; so no two machines' clocks are ever
compared.

Whoever was away may have missed something. So when a subscription begins, also anew after it broke,
everything this host keeps in memory is forgotten.
"""

import asyncio
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from mercenary.cache import announcer
from mercenary.cache.clocks import EVERYTHING, Clocks
from mercenary.cache.valkey import redis_url
from mercenary.measures import Histogram, durations

log = structlog.get_logger()

PING_SECONDS: Final = 0.1
SILENT_SECONDS: Final = 1.0
"""Without an answer for so long, a subscription is taken for broken, and opened anew."""
PAUSE_SECONDS: Final = 0.25


@dataclass(slots=True)
class ListenerMeasures:
    """What one worker has heard since it started."""

    announcements: int = 0
    changes: int = 0
    """Tags that were announced."""
    moved: int = 0
    """Of them, such that this host hadn't moved itself."""
    subscriptions: int = 0
    """Begun; each one empties the host's memory tier."""
    delays: Histogram = field(default_factory=durations)
    """Seconds from a change's transaction to its being applied here, one value a change.

    By the time of day of the relay's host and of this one; how far they are apart is in it.
    """


class Listener:
    """One worker's subscription, kept up by a task until `close`."""

    def __init__(self, url: str, clocks: Clocks) -> None:
        self.measures = ListenerMeasures()
        self._url = redis_url(url)
        self._clocks = clocks
        self._task: asyncio.Task[None] | None = None
        # The moment before which whatever was said has been heard: of the last PING answered.
        self._floor: float | None = None
        self._answered = 0.0
        self._broken = False

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._listen_on(), name="cache listener")

    async def close(self) -> None:
        """End the subscription."""
        while self._task is not None and not self._task.done():
            # Again if need be: one that meets a timeout that is just ending may be lost in it.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=PING_SECONDS)
        self._task = None

    async def _listen_on(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:  # whatever it is, it must listen again
                if not self._broken:
                    passes = isinstance(error, RedisError | OSError | ValueError)
                    traced = None if passes else error
                    log.warning("the cache hears nothing", cause=repr(error), exc_info=traced)
                    self._broken = True
            await asyncio.sleep(PAUSE_SECONDS)

    async def _listen(self) -> None:
        """Listen on one connection until it breaks."""
        redis = Redis.from_url(
            self._url,
            socket_timeout=SILENT_SECONDS,
            socket_connect_timeout=SILENT_SECONDS,
            retry=Retry(NoBackoff(), 0),  # a silent reconnection would be a gap
        )
        async with redis, redis.pubsub() as subscription:
            self._floor = None
            self._answered = pinged = monotonic()
            await subscription.subscribe(announcer.CHANNEL)
            while True:
                now = monotonic()
                if now - pinged >= PING_SECONDS:
                    pinged = now
                    await _ping(subscription, now)
                message = await subscription.get_message(timeout=PING_SECONDS)
                if message is not None:
                    self._hear(message)
                elif monotonic() - self._answered > SILENT_SECONDS:
                    raise TimeoutError("no answer to a PING")

    def _hear(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "message":
            self._apply(announcer.read(message["data"]))
        elif kind == "pong":
            self._floor = float(message["data"])
            self._answered = monotonic()
        elif kind == "subscribe":
            self._floor = None
            self._clocks.move(EVERYTHING)
            self.measures.subscriptions += 1
            if self._broken:
                log.warning("the cache hears again")
                self._broken = False

    def _apply(self, announcement: announcer.Announcement) -> None:
        measures = self.measures
        measures.announcements += 1
        for stamp, tags in announcement.told:
            measures.changes += len(tags)
            measures.moved += self._clocks.apply(tags, stamp)
        if announcement.begun:
            now = time()
            measures.delays.add([max(0.0, now - begun) for begun in announcement.begun])
        if announcement.age is not None and self._floor is not None:
            self._clocks.hear(self._floor - announcement.age)


async def _ping(subscription: PubSub, now: float) -> None:
    await subscription.ping(repr(now))
