"""Connections that stay out of the pool between batches.

A check-out and check-in cost 140 to 240 µs of Python (measured with `time.process_time` over 1,500
of them), which is what reading 15 projects costs. Batches come one after the other, so a lane's
connections are kept until they are as old as the pool's own recycling allows, or something fails.
One that was idle for long is asked whether it lives, as the pool's own are.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mercenary.db import pool
from mercenary.db.faults import lost_primary
from mercenary.settings import Settings

# Whether PostgreSQL plans a prepared statement for the values of each call.
_PLANNING = {
    True: text("SET plan_cache_mode = force_custom_plan"),
    False: text("SET plan_cache_mode = auto"),
}
# The same behind a pooler, for one transaction. Statements without a name always are.
_PLANNING_ONCE = text("SET LOCAL plan_cache_mode = force_custom_plan")


@dataclass
class _Held:
    connection: AsyncConnection
    since: float
    idle_since: float
    planning: bool = False


class Standing:
    """Up to `room` connections of an engine that nobody uses at the moment."""

    def __init__(self, engine: AsyncEngine, room: int, settings: Settings) -> None:
        self._engine = engine
        self._room = room
        recycle = settings.sqlalchemy_engine_options.pool_recycle
        self._recycle = recycle if recycle > 0 else float("inf")
        self._ping_after = pool.ping_after(settings)
        self._pooler = settings.pooler
        self._idle: list[_Held] = []

    def __len__(self) -> int:
        """How many nobody uses at the moment."""
        return len(self._idle)

    @asynccontextmanager
    async def lend(self, *, planning: bool) -> AsyncIterator[AsyncConnection]:
        """A connection for one batch, whose statements are planned for their values or once.

        After an error it goes back to the pool, which resets it.
        """
        held = await self._living(planning) or await self._open()
        try:
            await self._plan(held, planning)
            yield held.connection
            if self._pooler != "none":
                # What was read needed a transaction, and its server connection is others' now.
                await held.connection.commit()
        except BaseException as error:
            if lost_primary(error) and not held.connection.invalidated:
                # What was the primary is a replica now. The pool finds the new one by its address.
                await held.connection.invalidate()
            broken = held.connection.invalidated
            await _give_back(held)
            if broken:
                await self.close()  # what killed one has killed the others
            raise
        held.idle_since = time.monotonic()
        if len(self._idle) >= self._room or held.idle_since - held.since > self._recycle:
            await _give_back(held)
        else:
            self._idle.append(held)

    async def close(self) -> None:
        """Give all that are idle back to the pool."""
        while self._idle:
            await _give_back(self._idle.pop())

    def _pick(self, planning: bool) -> _Held | None:
        """The idle one that was used last, of those that plan as is wanted where there are any."""
        for place in reversed(range(len(self._idle))):
            if self._idle[place].planning is planning:
                return self._idle.pop(place)
        return self._idle.pop() if self._idle else None

    async def _living(self, planning: bool) -> _Held | None:
        """As `_pick`, and asked whether it lives if it was idle for long."""
        held = self._pick(planning)
        if held is None or time.monotonic() - held.idle_since < self._ping_after:
            return held
        try:
            await self._ping(held.connection)
        except BaseException as error:
            await held.connection.invalidate()
            await held.connection.close()
            await self.close()  # what killed one has killed the others
            if not isinstance(error, pool.UNANSWERED):
                raise
            return None
        return held

    async def _ping(self, connection: AsyncConnection) -> None:
        raw = await connection.get_raw_connection()
        await pool.pool_of(self._engine).ping(raw.driver_connection)

    async def _plan(self, held: _Held, planning: bool) -> None:
        if self._pooler == "none":
            if held.planning is not planning:
                await held.connection.execute(_PLANNING[planning])
                held.planning = planning
        elif planning and self._pooler == "transaction-prepared":
            await held.connection.execute(_PLANNING_ONCE)

    async def _open(self) -> _Held:
        now = time.monotonic()
        return _Held(await self._engine.connect(), now, now)


async def _give_back(held: _Held) -> None:
    if held.planning and not held.connection.invalidated:
        # The pool's own reset leaves settings as they are, and others would inherit this one.
        await held.connection.invalidate()
    await held.connection.close()
