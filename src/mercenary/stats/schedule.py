"""When the views are refreshed, and the relay's sink that does it.

A refresh of a large marketplace takes a minute, in which the relay makes hundreds of rounds. So the
sink only counts what it is handed, and refreshes in a task of its own.
"""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import structlog
from sqlalchemy.exc import DBAPIError

from mercenary.db.engine import Database
from mercenary.errors import ProblemError
from mercenary.events.sinks import Handover, Sink
from mercenary.stats.service import refresh

log = structlog.get_logger()

# After a refresh comes a rest of so many times what it took: it gets a tenth of the time at most.
_REST: Final = 9.0
# What the views count. Sessions come and go without a trace in them.
_COUNTED: Final = ("project", "proposal", "user", "skill")


class Schedule:
    """When the next refresh is due; all times are seconds of one clock.

    It is due `every` seconds after the last one if anything has changed since, and earlier when
    `changes` changes were counted; but never within `least` seconds of the last one's beginning,
    nor before a rest of nine times what it took.

    What changed before the first one isn't known, so something is taken to have.
    """

    def __init__(self, now: float, *, every: float, changes: int, least: float) -> None:
        self._every = every
        self._changes = changes
        self._least = least
        self._counted = 1
        self._taken = 0
        self._begun = now
        self._rested = now

    def count(self, changes: int) -> None:
        """So many things have changed."""
        self._counted += changes

    def due(self) -> float | None:
        """When to begin; None: not before something changes."""
        if not self._counted:
            return None
        wait = self._least if self._counted >= self._changes else max(self._every, self._least)
        return max(self._begun + wait, self._rested)

    def begin(self, now: float) -> None:
        """A refresh begins. What is counted from here on may not be in it."""
        self._begun = now
        self._taken, self._counted = self._counted, 0

    def end(self, now: float, *, done: bool) -> None:
        """It has ended; what wasn't done is still to be."""
        self._rested = now + _REST * (now - self._begun)
        if not done:
            self._counted += self._taken


class Refresher(Sink):
    """Refreshes on schedule for as long as the block lasts: `async with Refresher(db) as it`."""

    name = "statistics"

    def __init__(self, database: Database) -> None:
        settings = database.settings
        self._database = database
        self._time = asyncio.get_running_loop().time
        self._schedule = Schedule(
            self._time(),
            every=settings.stats_every,
            changes=settings.stats_changes,
            least=settings.stats_least,
        )
        self._handed: set[int] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def due(self) -> float | None:
        """When the next refresh is due, by the loop's clock; None: not before something changes."""
        return self._schedule.due()

    async def take(self, handover: Handover) -> None:
        """Count what has changed, once, however often it is handed on while another sink fails."""
        new = [row for row in handover.rows if row.id not in self._handed]
        self._handed = {row.id for row in handover.rows}
        changes = sum(row.event.name.partition(".")[0] in _COUNTED for row in new)
        if changes:
            self._schedule.count(changes)
            self._changed.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, a refresh under way as well: PostgreSQL undoes what wasn't committed."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await self._wait()
            self._schedule.begin(self._time())
            done = False
            try:
                done = await refresh(self._database, least=self._database.settings.stats_least)
            except ProblemError as problem:  # the database is away or slow; it will be back
                cause = repr(problem.__cause__)
                log.warning("could not refresh statistics", problem=problem.slug, cause=cause)
            except DBAPIError as refusal:  # such as to a role that doesn't own the views
                log.warning("may not refresh statistics", cause=repr(refusal))
            finally:
                self._schedule.end(self._time(), done=done)

    async def _wait(self) -> None:
        """Sleep until a refresh is due; each change may make that earlier."""
        while (due := self._schedule.due()) is None or due > self._time():
            self._changed.clear()
            try:
                async with asyncio.timeout_at(due):
                    await self._changed.wait()
            except TimeoutError:
                continue
