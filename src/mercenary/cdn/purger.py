"""Tells one target what it has to forget, for as long as the process lives.

Each target has a purger of its own, so that one that is away holds up no other. A wish is told at
once, and again when the CDN may have fetched the old state in between: when our own lists don't
show it any more; when no other host does; and when no request can still be under way that had begun
before the change, for its answer may have been on its way while the CDN was told to forget.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import uniform
from typing import Final

import httpx
import structlog

from mercenary.cache.entries import YOUNG_SECONDS
from mercenary.cdn import queries
from mercenary.cdn.calls import CallFailed, tell
from mercenary.cdn.queries import EVERYTHING, Purge
from mercenary.cdn.targets import Target
from mercenary.db.engine import Database
from mercenary.db.faults import as_problem
from mercenary.errors import ProblemError
from mercenary.settings import Settings

log = structlog.get_logger()

# How often the database is asked what is due, and so how much later than it could a CDN is told.
LOOK_SECONDS: Final = 0.1
# The pauses after failures: drawn between nothing and twice as much each time, up to the most
# (full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0
# Past so many tags it is cheaper, for both sides, to forget everything.
MOST_WAITING: Final = 10_000


@dataclass(slots=True)
class PurgeMeasures:
    """What one process has told one target."""

    calls: int = 0
    """Made, those that failed among them."""
    failures: int = 0
    """Calls without a good answer."""
    tags: int = 0
    """Told, each as often as it was."""


class Purger:
    """What is due for a target is told to it, many tags a call, and again until it succeeds."""

    def __init__(self, database: Database, target: Target, client: httpx.AsyncClient) -> None:
        self.measures = PurgeMeasures()
        self._database = database
        self._target = target
        self._client = client
        self._call_seconds = database.settings.cdn_call_seconds
        self._again = again_after(database.settings)
        # In a row, of calls; and whether the database was away at the last turn.
        self._failures = 0
        self._blind = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set; a call under way is finished."""
        while not stopping.is_set():
            try:
                pause = await self._turn()
            except Exception as error:
                if not self._blind:
                    self._blind = True
                    problem = as_problem(error)
                    passes = isinstance(problem, ProblemError)
                    log.warning(
                        "purges wait", cause=repr(problem), exc_info=None if passes else error
                    )
                pause = _jittered(1)
            else:
                self._blind = False
            await _rest(pause, stopping)

    async def _turn(self) -> float:
        """Make one call if anything is due; gives the seconds until the next turn."""
        target = self._target
        lease = self._call_seconds + self._database.settings.statement_timeout
        async with self._database.connecting() as connection, connection.begin():
            taken = await queries.take_due(
                connection, target.name, rows=target.tags_at_once, seconds=lease
            )
        if not taken:
            return LOOK_SECONDS
        try:
            await self._tell(taken)
        except CallFailed as failure:
            return await self._put_off(taken, failure)
        if self._failures:
            log.warning("cdn is back", target=target.name, failures=self._failures)
            self._failures = 0
        await self._note(taken)
        return LOOK_SECONDS if len(taken) < target.tags_at_once else 0.0

    async def _tell(self, taken: Sequence[Purge]) -> None:
        tags = [purge.tag for purge in taken]
        self.measures.calls += 1
        told = [EVERYTHING] if EVERYTHING in tags else sorted(tags)
        try:
            await tell(self._client, self._target, told, seconds=self._call_seconds)
        except CallFailed:
            self.measures.failures += 1
            raise
        self.measures.tags += len(tags)

    async def _note(self, taken: Sequence[Purge]) -> None:
        """Remove what was told as often as it should be, and have the rest told again."""
        name = self._target.name
        async with self._database.connecting() as connection, connection.begin():
            for told, seconds in enumerate(self._again):
                again = [purge for purge in taken if purge.told == told]
                if again:
                    await queries.tell_again(connection, name, again, seconds=seconds)
            over = [purge for purge in taken if purge.told >= len(self._again)]
            if over:
                await queries.delete_purges(connection, name, over)

    async def _put_off(self, taken: Sequence[Purge], failure: CallFailed) -> float:
        """Have what wasn't told become due after a pause, in which the target is left alone."""
        name = self._target.name
        if not self._failures:
            log.warning("cdn cannot be told", target=name, reason=failure.reason)
        self._failures += 1
        # The rows remember it for a process that has just been started.
        pause = _jittered(max(self._failures, *(purge.attempts for purge in taken)))
        if failure.wait is not None:
            pause += failure.wait
        async with self._database.connecting() as connection, connection.begin():
            await queries.postpone(connection, name, taken, seconds=pause)
            if await queries.count_waiting(connection, name) > MOST_WAITING:
                await queries.ask_for_everything(connection, name)
        return pause


def again_after(settings: Settings) -> tuple[float, ...]:
    """The seconds between one telling of a wish and the next, for as many as there are."""
    # The first two are more than the second together in which others must have heard of it.
    return YOUNG_SECONDS, YOUNG_SECONDS, settings.request_deadline


def _jittered(attempts: int) -> float:
    return uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts - 1, 16)))  # noqa: S311


async def _rest(seconds: float, stopping: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
