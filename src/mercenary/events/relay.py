"""The relay: takes what the outbox holds, hands it on, deletes it, and begins again.

`mercenary relay` runs one. Of several, one has the turn at a time, for the length of a transaction,
and the others look again and again whether it is free; so when one is killed, another takes over
at once. One that is stopped but not dead loses its turn when PostgreSQL ends its idle transaction.
Rows go when every sink has taken them (`events/sinks.py`); while one can't, or the database is
away, they wait.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog
from msgspec.structs import replace

from mercenary import crash_points
from mercenary.cache.valkey import ValkeyAway
from mercenary.database_settings import EngineOptions
from mercenary.db.engine import Database
from mercenary.db.faults import as_problem
from mercenary.db.outbox import delete_rows, hold_rows, look, vacuum
from mercenary.errors import ProblemError
from mercenary.events.floor import Floor
from mercenary.events.sinks import Handover, Sink
from mercenary.measures import Histogram, durations
from mercenary.settings import Settings

log = structlog.get_logger()

VACUUM_ROWS: Final = 20_000
"""Deleted rows after which their space is made free: about 3 MB of table and 1 MB of index."""
FIRST_REST: Final = 0.05
LONGEST_REST: Final = 1.0
"""Seconds between two tries while a sink or the database is away, from the first to the last."""


@dataclass(slots=True)
class RelayMeasures:
    """What a relay has done since it started."""

    rounds: int = 0
    """Turns in which rows were handed on."""
    rests: int = 0
    """Looks at an empty outbox."""
    stood_by: int = 0
    """Looks at which another relay had the turn."""
    rows: int = 0
    """Handed on and deleted."""
    failures: int = 0
    """Turns that came to nothing, whose rows stayed."""
    vacuums: int = 0
    oldest: float = 0.0
    """Seconds that the oldest row of the last round had waited; 0 without rows."""
    waits: Histogram = field(default_factory=durations)
    """Seconds from a change's transaction to its being handed on, one value a row."""
    round_times: Histogram = field(default_factory=durations)
    """Seconds a round took."""


def database_for(settings: Settings, uri: str) -> Database:
    """A database as a relay needs it: three connections, on which nothing takes longer than a turn.

    One is for turns, one for looking whether there is reason for one, and one for making room.
    """
    turn = settings.relay_turn
    return Database(
        replace(
            settings,
            sqlalchemy_engine_options=EngineOptions(pool_size=3, max_overflow=0),
            # The bound on a transaction that is left alone, by which a stopped relay's turn ends.
            request_deadline=turn,
            statement_timeout=turn,
            lock_timeout=turn,
        ),
        uri,
    )


class SinkError(Exception):
    """A sink couldn't take what it was handed. `cause` is what it raised."""

    def __init__(self, sink: str, cause: Exception) -> None:
        super().__init__(f"{sink}: {cause!r}")
        self.sink = sink
        self.cause = cause


class Relay:
    """One relay, which works until it is told to stop."""

    def __init__(self, database: Database, sinks: Sequence[Sink]) -> None:
        self.measures = RelayMeasures()
        self._database = database
        if not sinks:
            raise ValueError("a relay without sinks would throw everything away")
        self._sinks = sinks
        self._rows = database.settings.relay_rows
        self._pause = database.settings.relay_pause
        self._within = database.settings.relay_turn / 2
        self._floor = Floor()
        self._trouble: type[Exception] | None = None
        self._deleted = 0
        self._vacuuming: asyncio.Task[None] | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set; the round under way is finished.

        Raises nothing that passes: while the database or a sink is away, it tries again.
        """
        rest = FIRST_REST
        more = False
        while not stopping.is_set():
            try:
                more = await self.turn(looking=not more)
            except Exception as error:  # noqa: BLE001 - whatever it is, the rows are still there
                more = False
                self._failed(error)
                await _sleep(rest, stopping)
                rest = min(2 * rest, LONGEST_REST)
                continue
            rest = FIRST_REST
            self._recovered()
            if not more:
                await _sleep(self._pause, stopping)
        if self._vacuuming is not None:
            await self._vacuuming

    async def turn(self, *, looking: bool = True) -> bool:
        """Hand on what there is, up to a round's rows; whether there is more at once.

        `looking` first without a transaction, which is all that an empty outbox costs.

        Raises:
            Unavailable: the database is away.
            SinkError: somebody couldn't take the rows, which are all still there.
        """
        # Before anything is asked: what was committed by now will be seen.
        since = time.monotonic()
        try:
            floor = self._floor.begin() if looking else self._floor.id
            if looking and (lsn := await self._look(floor)) is not None:
                # Whoever deleted the rows had handed them on, so this needs no turn.
                await self._given_to_sinks(lambda sink: sink.rest(since, lsn))
                self._floor.settle()
                self.measures.rests += 1
                self.measures.oldest = 0.0
                return False
            return await self._round(since, floor)
        except SinkError:
            raise
        except Exception as error:
            raise as_problem(error) from error

    async def _look(self, floor: int) -> int | None:
        """None where there is something to hand on; else the place in the log of this moment."""
        async with self._database.reading() as connection:
            found, running, lsn = await look(connection, floor)
        self._floor.see(running)
        return None if found else lsn

    async def _round(self, since: float, floor: int) -> bool:
        async with self._database.writing() as tx, tx.begin():
            held = await hold_rows(tx, self._rows, floor=floor)
            if held is None:
                self.measures.stood_by += 1
                return False
            deleted_by = None
            if held.rows:
                handover = Handover(tx, held.rows, since if held.all else None, held.lsn)
                await self._given_to_sinks(lambda sink: sink.take(handover))
                crash_points.reach("after-handing-on")
                deleted_by = await delete_rows(tx, held.rows)
        if held.all:
            self._floor.settle()
        if deleted_by is not None:
            self._floor.hand_on(held.rows[-1].id, deleted_by)
        self._count([row.age for row in held.rows], time.monotonic() - since)
        return not held.all

    async def _given_to_sinks(self, give: Callable[[Sink], Awaitable[None]]) -> None:
        """Call each sink in turn, all of them within half a turn."""
        sink = self._sinks[0]
        try:
            async with asyncio.timeout(self._within):
                for sink in self._sinks:
                    await give(sink)
        except Exception as error:
            raise SinkError(sink.name, error) from error

    def _count(self, ages: Sequence[float], seconds: float) -> None:
        if not ages:
            return
        measures = self.measures
        measures.rounds += 1
        measures.rows += len(ages)
        measures.oldest = max(ages)
        measures.waits.add([max(0.0, age) for age in ages])
        measures.round_times.add((seconds,))
        self._deleted += len(ages)
        if self._deleted >= VACUUM_ROWS and self._vacuuming is None:
            self._deleted = 0
            self._vacuuming = asyncio.create_task(self._vacuum(), name="outbox vacuum")

    async def _vacuum(self) -> None:
        """Make the space of deleted rows free. Beside the rounds, which don't wait for it."""
        try:
            async with self._database.without_transaction() as connection:
                await vacuum(connection)
            self.measures.vacuums += 1
        except Exception as error:  # noqa: BLE001 - the next time, or autovacuum, will do it
            log.warning("could not vacuum the outbox", cause=repr(error))
        finally:
            self._vacuuming = None

    def _failed(self, error: Exception) -> None:
        """Say what is in the way, once and not each time."""
        self.measures.failures += 1
        self._floor = Floor()  # the database may be another one when it is back
        cause = error.cause if isinstance(error, SinkError) else error
        what = f"{error.sink}: {cause!r}" if isinstance(error, SinkError) else repr(cause)
        if type(cause) is not self._trouble:
            self._trouble = type(cause)
            passes = isinstance(cause, ProblemError | ValkeyAway | TimeoutError)
            log.warning("the relay waits", cause=what, exc_info=None if passes else error)

    def _recovered(self) -> None:
        if self._trouble is not None:
            log.warning("the relay works again", failures=self.measures.failures)
            self._trouble = None


async def _sleep(seconds: float, stopping: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
