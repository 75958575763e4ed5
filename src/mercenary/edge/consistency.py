"""Lets replicas answer, and has everybody read what they wrote.

A write's answer carries a token, the place in PostgreSQL's log that its commit is before. Whoever
sends it with a read is answered by what has got there, be it another host, another worker or a
guest's next call. For callers who are signed in the same place is kept in Valkey as long as it may
matter, so that they need to send nothing.

Without a replica there is no such layer. What is said here counts for public endpoints alone;
reads of all the others (accounts, sessions, bids), of admins, and of whoever wants what the
database says now go to the primary.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mercenary import freshness, sojourn
from mercenary.cache import caches, valkey
from mercenary.cache.valkey import Script, ValkeyAway
from mercenary.db import engine, positions
from mercenary.db.batches import read_batch
from mercenary.db.positions import UNKNOWN, Position
from mercenary.edge.hits import READING, TOKEN, demands_anew
from mercenary.errors import ProblemError
from mercenary.freshness import Demand
from mercenary.http.access import Caller
from mercenary.http.endpoint import BASE_PATH
from mercenary.http.invocation import Invocation

log = structlog.get_logger()

KEPT_SECONDS: Final = 10.0
"""How long a caller's last write is kept, besides the lag: past that, every replica in use has it,
so this is what clocks and pauses may be wrong by."""
_ANEW: Final = (b"cache-control", b"no-cache")
# Two writes of a caller may be noted in either order, and the one that is further on must stay.
_NOTE = Script(
    """
if ARGV[1] > (redis.call('GET', KEYS[1]) or '') then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
"""
)

find_position = read_batch(positions.select_position)


class Consistency:
    """The layer in front of what is kept. `lag` is the most that a replica in use is behind."""

    def __init__(self, app: ASGIApp, lag: float) -> None:
        self.app = app
        self.lag = lag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say what a read must know of, or tell where a write is."""
        if scope["type"] == "http":
            invocation: Invocation | None = scope["invocation"]
            freshness.allow(None)
            if scope["method"] not in READING:
                send = self._telling(scope["caller"], send)
            elif _is_public(invocation) and not scope["caller"].is_admin:
                await _allow(scope)
        await self.app(scope, receive, send)

    def _telling(self, caller: Caller, send: Send) -> Send:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                position = await self._note(caller)
                if position != UNKNOWN:
                    message["headers"] = [*message["headers"], (TOKEN, str(position).encode())]
            await send(message)

        return tell

    async def _note(self, caller: Caller) -> Position:
        """Where the log is, behind whatever was committed for this request, kept for the caller."""
        try:
            position = await find_position(1) or UNKNOWN
        except ProblemError as problem:
            # What was committed is committed. Reads go to the primary until it can't matter.
            log.warning("a write can't be told where it is", cause=repr(problem))
            position = UNKNOWN
        if caller.id is not None:
            milliseconds = int((KEPT_SECONDS + self.lag) * 1000)
            try:
                await valkey.current().run(_NOTE, [_key(caller)], [str(position), milliseconds])
            except ValkeyAway:
                # Whoever answers the next read may find nothing where there should be something. So
                # the caller hears of the write when every replica in use has it.
                with sojourn.elsewhere():
                    await asyncio.sleep(self.lag)
        return position


def _is_public(invocation: Invocation | None) -> bool:
    if invocation is None or invocation.endpoint.base != BASE_PATH:
        return False
    return invocation.endpoint.cache.public


async def _allow(scope: Scope) -> None:
    """Allow what a public endpoint reads to come from a replica that knows of what it must."""
    if demands_anew(scope["headers"]):
        return  # which asks for what the database says now
    token = next((value for name, value in scope["headers"] if name == TOKEN), None)
    if token is None:
        freshness.allow(Demand())
        return
    position = positions.read(token.decode("latin-1")) or UNKNOWN
    freshness.allow(Demand(_known(position)))
    replicas = engine.current().replicas
    if replicas is None or not replicas.is_settled(position, caches.current().clocks.heard):
        # This host's caches may not have heard of that write.
        scope["headers"] = [*scope["headers"], _ANEW]
        if scope["caller"].id is not None:
            await recall(scope["caller"])


def recalling(certify: Callable[[Caller], Awaitable[None]]) -> Callable[[Caller], Awaitable[None]]:
    """For whom a kept answer doesn't do: certify the caller, and recall the last write."""

    async def certified(caller: Caller) -> None:
        await certify(caller)
        await recall(caller)

    return certified


async def recall(caller: Caller) -> None:
    """Have the reads of this request know of the caller's last write."""
    try:
        kept: Any = await valkey.current().ask(lambda redis: redis.get(_key(caller)))
    except ValkeyAway:
        freshness.allow(None)
        return
    if kept is not None:
        freshness.require(lsn=_known(positions.read(kept.decode()) or UNKNOWN))


def _known(position: Position) -> int:
    """The place as the replicas count; beyond them where a promotion hasn't been heard of yet."""
    replicas = engine.current().replicas
    if replicas is None or position.timeline > replicas.timeline:
        return freshness.BEYOND
    return position.lsn


def _key(caller: Caller) -> str:
    return f"wrote:{caller.user_id}"
