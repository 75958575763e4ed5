"""Which reads a replica may answer, and which replica.

A replica is a bit behind, and how much is never guessed. Each worker asks the primary now and then
how far its log is, and each replica how far it has replayed that. So of a replica it knows a place
in the log and a moment up to which it shows everything, and both are true for good. It is used
while that moment is less than the setting's `replica_lag` ago, and for those reads whose demand
(`freshness.py`) it meets. Everything else goes to the primary: that costs nothing but the relief.

Whoever begins to ask is answered by the primary until the first round of questions is over, and
when nobody has asked for a while, the questions end.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import Context
from dataclasses import dataclass, field, fields
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mercenary.db.faults import is_timeout, lost_connection
from mercenary.db.pool import pool_of
from mercenary.db.positions import Position, Standpoint, standpoint
from mercenary.db.standing import Standing
from mercenary.db.topology import is_sharded
from mercenary.errors import ProblemError
from mercenary.freshness import Demand

T = TypeVar("T")

log = structlog.get_logger()

IDLE_SECONDS: Final = 30.0
"""After so long without a read that a replica might answer, nobody is asked any more."""
PATIENCE_SECONDS: Final = 1.0
"""A replica that doesn't say how far it is for so long is taken for dead, and its reads are given
to the primary."""
LONGEST_REST_SECONDS: Final = 1.0
"""Between two tries to reach one that is dead; the first comes after `replica_probe`."""
SAMPLES: Final = 256
CALM_SECONDS: Final = 1.0
"""After so long without such a read, the questions come half as often."""
_BEHIND: Final = "it is too far behind"
_SILENT: Final = "it doesn't answer"

Select = Callable[[AsyncConnection], Awaitable[T]]


@dataclass(slots=True)
class ReplicaMeasures:
    """Where the reads went that a replica might have answered, since the process started."""

    answered: int = 0
    """By a replica, runs of a batch."""
    behind: int = 0
    """Asks for the primary, because no replica was known to have what they must know of."""
    unusable: int = 0
    """Asks for the primary, because every replica was dead, or too far behind for anybody."""
    lost: int = 0
    """Runs that a dead replica took along, and the primary made good."""
    refused: int = 0
    """Runs that failed on a replica for another reason, as a conflict with what it replays."""
    left_out: int = 0
    """How often a replica that was in use became none."""


_COUNTERS: Final = tuple(each.name for each in fields(ReplicaMeasures))
_POOLS: Final = ("pool_in_use", "pool_waiting", "pool_timeouts_total")
NAMES: Final = (
    "replicas_named",
    "replicas_used",
    *(f"replicas_{name}_total" for name in _COUNTERS),
    *(f"replicas_{name}" for name in _POOLS),
)
"""Every name of `snapshot`, in its order."""


def snapshot(replicas: "Replicas | None") -> dict[str, float]:
    """What a worker knows of its replicas, by `NAMES`; all 0 where it has none.

    `replicas_named` are those of the settings and `replicas_used` those that may be asked now; then
    come `ReplicaMeasures`, and the sums of their pools (`pool.py`).
    """
    if replicas is None:
        return dict.fromkeys(NAMES, 0.0)
    pools = [pool_of(each.engine).snapshot(len(each.readers)) for each in replicas.replicas]
    values = (
        len(replicas.replicas),
        sum(each.fault is None for each in replicas.replicas),
        *(getattr(replicas.measures, name) for name in _COUNTERS),
        *(sum(pool[name] for pool in pools) for name in _POOLS),
    )
    return dict(zip(NAMES, map(float, values), strict=True))


class _Sample(NamedTuple):
    """All that was committed before the moment is before the place; known since `known`."""

    moment: float
    lsn: int
    known: float


class Replica:
    """One replica, as far as this worker knows it. `name` tells no password."""

    def __init__(self, name: str, engine: AsyncEngine, readers: Standing) -> None:
        self.name = name
        self.engine = engine
        self.readers = readers
        self.busy = 0
        """Reads under way."""
        self.lsn = 0
        """The place up to which it has replayed, at least."""
        self.moment = float("-inf")
        """It shows all that was committed before, at least."""
        self.fault: str | None = "nothing is known of it yet"
        """Why it can't be used, whatever it has replayed; None if it can."""
        self._lost: asyncio.Future[None] | None = None

    @property
    def lost(self) -> "asyncio.Future[None]":
        """Done when it is taken for dead, so that nobody goes on waiting for it."""
        if self._lost is None:
            self._lost = asyncio.get_running_loop().create_future()
        return self._lost

    def forget(self) -> None:
        """Know nothing of it: its log may be another one."""
        self.lsn = 0
        self.moment = float("-inf")

    def die(self) -> None:
        """Let go of whoever waits for it."""
        self.forget()
        if self._lost is not None:
            self._lost.set_result(None)
            self._lost = None


@dataclass
class Replicas:
    """The replicas of one worker. `lag` and `probe` are seconds.

    `asking` lends a connection to the primary.
    """

    asking: Callable[[], AbstractAsyncContextManager[AsyncConnection]]
    replicas: Sequence[Replica]
    lag: float
    probe: float
    measures: ReplicaMeasures = field(default_factory=ReplicaMeasures)
    timeline: int = 0
    """The primary's, as it was last heard of."""

    def __post_init__(self) -> None:
        self._cluster = 0
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)
        self._asked = 0.0
        self._wanted = asyncio.Event()
        self._closing = False
        self._pauses: set[asyncio.Future[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = 0

    def suiting(self, demand: Demand) -> Replica | None:
        """A replica that meets a demand, of several the one with least to do; None for none."""
        self._want()
        now = monotonic()
        best: Replica | None = None
        usable = False
        self._turn += 1
        for place in range(len(self.replicas)):
            each = self.replicas[(self._turn + place) % len(self.replicas)]
            if each.fault is not None or now - each.moment > self.lag:
                continue
            usable = True
            if each.lsn < demand.lsn or each.moment < demand.moment:
                continue
            if best is None or each.busy < best.busy:
                best = each
        if best is None:
            if usable:
                self.measures.behind += 1
            else:
                self.measures.unusable += 1
        return best

    async def read(self, demand: Demand, select: "Select[T]", *, planning: bool) -> T | None:
        """What a replica answers; None where the primary has to.

        Raises:
            DeadlineExceeded: there is no time left, for the primary neither.
            DBAPIError: the statement took as long as it may.
        """
        replica = self.suiting(demand)
        if replica is None:
            return None

        async def run() -> T:
            async with replica.readers.lend(planning=planning) as connection:
                return await select(connection)

        # A task of its own, which is left to itself when the replica is lost: to cancel a statement
        # would mean to wait for the server that doesn't answer.
        reading = asyncio.create_task(run(), name=f"read of {replica.name}")
        replica.busy += 1
        reading.add_done_callback(lambda _: _leave(replica, reading))
        either: set[asyncio.Future[Any]] = {reading, replica.lost}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            self.measures.lost += 1
            return None
        error = reading.exception()
        if error is None:
            self.measures.answered += 1
            return reading.result()
        if isinstance(error, ProblemError) or is_timeout(error):
            raise error
        if lost_connection(error):
            self.measures.lost += 1
            self._leave_out(replica, f"it broke off: {error!r}")
        else:
            self.measures.refused += 1
        return None

    def is_settled(self, position: Position, heard: float) -> bool:
        """Whether a write was committed before `heard`, a moment of the monotonic clock.

        Only a place beyond it tells: while the log hasn't grown since, its commit may have been in
        it before it could be seen.
        """
        self._want()
        for sample in reversed(self._samples):
            if sample.known <= heard:
                return position < (self.timeline, sample.lsn)
        return False

    async def close(self) -> None:
        """End the questions and give the connections back."""
        self._closing = True
        self._wanted.set()
        for pause in self._pauses:
            _wake(pause)
        if self._tasks:
            _, hanging = await asyncio.wait(self._tasks, timeout=PATIENCE_SECONDS)
            for task in hanging:
                task.cancel()
            if hanging:
                await asyncio.wait(hanging)
        for replica in self.replicas:
            await replica.readers.close()
            await replica.engine.dispose()

    def _want(self) -> None:
        self._asked = monotonic()
        if not self._wanted.is_set():
            self._wanted.set()
        if not self._tasks:
            context = Context()  # nobody's request
            loop = asyncio.get_running_loop()
            self._tasks.append(loop.create_task(self._sample_on(), context=context))
            for replica in self.replicas:
                self._tasks.append(loop.create_task(self._follow(replica), context=context))

    async def _sample_on(self) -> None:
        """Ask the primary how far its log is, again and again."""
        while await self._go_on():
            moment = monotonic()
            try:
                async with self.asking() as connection:
                    if is_sharded(connection):
                        log.warning("no replica is used: a cluster has no log that tells of all")
                        return
                    found = await standpoint(connection)
            except Exception as error:  # noqa: BLE001 - reads find out for themselves
                log.info("the primary doesn't say how far it is", cause=repr(error))
            else:
                self._note(moment, found)
            await self._rest()

    def _note(self, moment: float, found: Standpoint) -> None:
        if found.is_replica:
            return
        if (found.cluster, found.position.timeline) != (self._cluster, self.timeline):
            # After a promotion a place in the log may mean something else than before.
            self._samples.clear()
            for replica in self.replicas:
                replica.forget()
            self._cluster, self.timeline = found.cluster, found.position.timeline
        self._samples.append(_Sample(moment, found.position.lsn, monotonic()))

    async def _follow(self, replica: Replica) -> None:
        """Ask a replica how far it is, again and again."""
        loop, rest = asyncio.get_running_loop(), self.probe
        while await self._go_on():
            # Not a deadline: whoever cancels a question has to wait for the server, too.
            patience = loop.call_later(PATIENCE_SECONDS, self._leave_out, replica, _SILENT)
            try:
                async with replica.readers.lend(planning=False) as connection:
                    found = await standpoint(connection)
            except Exception as error:  # noqa: BLE001 - whatever it is, it will be tried again
                self._leave_out(replica, repr(error))
                with suppress(Exception):
                    await replica.readers.close()
                await self._pause(rest)
                rest = min(2 * rest, LONGEST_REST_SECONDS)
                continue
            finally:
                patience.cancel()
            rest = self.probe
            self._learn(replica, found)
            await self._rest()

    def _learn(self, replica: Replica, found: Standpoint) -> None:
        if not self._samples:
            return
        if not found.is_replica:
            self._leave_out(replica, "it is no replica (any more)")
        elif (found.cluster, found.position.timeline) != (self._cluster, self.timeline):
            self._leave_out(replica, "it doesn't follow the primary")
        else:
            replica.lsn = max(replica.lsn, found.position.lsn)
            for sample in reversed(self._samples):
                if sample.lsn <= replica.lsn:
                    replica.moment = max(replica.moment, sample.moment)
                    break
            self._judge(replica)

    def _judge(self, replica: Replica) -> None:
        """Say whether a replica that answers is near enough; what it has replayed stays true."""
        if monotonic() - replica.moment > self.lag:
            if replica.fault is None:
                self.measures.left_out += 1
                log.warning("a replica is left out", replica=replica.name, cause=_BEHIND)
                replica.fault = _BEHIND
        elif replica.fault is not None:
            log.warning("a replica is used", replica=replica.name)
            replica.fault = None

    def _leave_out(self, replica: Replica, fault: str) -> None:
        if replica.fault is None:
            self.measures.left_out += 1
        if replica.fault != fault:
            log.warning("a replica is left out", replica=replica.name, cause=fault)
        replica.fault = fault
        replica.die()

    async def _go_on(self) -> bool:
        """Wait until somebody wants to know; False at the end."""
        if monotonic() - self._asked > IDLE_SECONDS:
            self._wanted.clear()
        await self._wanted.wait()
        return not self._closing

    async def _rest(self) -> None:
        """Let some time pass between two questions, and more when nobody reads."""
        calm = monotonic() - self._asked > CALM_SECONDS
        await self._pause(2 * self.probe if calm else self.probe)

    async def _pause(self, seconds: float) -> None:
        if self._closing:
            return
        loop = asyncio.get_running_loop()
        pause = loop.create_future()
        self._pauses.add(pause)
        timer = loop.call_later(seconds, _wake, pause)
        try:
            await pause
        finally:
            timer.cancel()
            self._pauses.discard(pause)


def _wake(pause: "asyncio.Future[None]") -> None:
    if not pause.done():
        pause.set_result(None)


def _leave(replica: Replica, reading: "asyncio.Task[object]") -> None:
    replica.busy -= 1
    if not reading.cancelled():
        reading.exception()  # whoever waited for it may have gone
