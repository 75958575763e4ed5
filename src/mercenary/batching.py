"""Many callers, one trip.

Use a `Batch` for anything that costs a round trip and can be asked for in bulk. A caller asks for
one thing and awaits its answer; what was asked for while the previous run was under way becomes
the next run. No timer holds anything back, so an idle system answers at once and a busy one gets
cheaper with every caller:

    find_user = Batch(select_users, name="users", lanes=Lanes(4), share_equal=True)
    user = await find_user.ask(17)

The words: an *ask* is what one caller wants, a *run* is one call of the function that serves many
asks, an *outcome* is an ask's answer or the exception that it alone fails with, and a *lane* is
the right to have one run under way. A batch belongs to one event loop, and knows no database.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from copy import copy
from itertools import chain, islice
from typing import Any, Generic, TypeVar

from mercenary.errors import DeadlineExceeded, Overloaded, Unavailable
from mercenary.measures import Measures
from mercenary.sojourn import Sojourn, current, enter

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")

SWEEPS_PER_DEADLINE = 20
"""A caller hears of its deadline at most a twentieth of the batch's own too late."""


class Lanes:
    """The bound on runs under way at once, shared by all batches that use one resource.

    Batches that find none free queue, each with one place at a time: one with much to do gets
    behind the others again after each run, so nobody is starved.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError("there must be at least one lane")
        self.count = count
        self._free = count
        self._queue: deque[Callable[[], bool]] = deque()

    @property
    def busy(self) -> int:
        """Runs under way."""
        return self.count - self._free

    def enter(self, begin: Callable[[], bool]) -> None:
        """Hand a lane to `begin`, now or in turn; it says whether it took it."""
        if not self._free:
            self._queue.append(begin)
            return
        self._free -= 1
        if not begin():
            self._free += 1

    def leave(self) -> None:
        """Hand a lane on to the next in the queue that still wants it."""
        while self._queue:
            if self._queue.popleft()():
                return
        self._free += 1


class Batch(Generic[Ask, Answer]):
    """Serves callers that each ask for one thing by a function that answers many.

    `run` is given 1 to `max_size` asks and returns as many outcomes in the same order. An
    exception among them fails that ask alone. When `run` raises, everything it did must be undone
    (a transaction is): the asks are run again in halves, in the same lane, until the culprit is
    alone and has failed; where `splits` says that halves would fare no better (the server is
    gone), all of them fail at once.

    `share_equal` is for reads: asks that are equal as dictionary keys and wait together are one,
    and its answer, which nobody may change, goes to every caller. An ask never joins a run under
    way, since that may have read what was true before a write the caller already knows of.
    `order` is for writes: a run's asks are sorted by it, so that all runs lock rows in one order.

    At most `parallel` runs of this batch are under way, and as many as `lanes` has free. At most
    `max_waiting` asks wait, and nobody longer than `deadline` seconds or past the deadline of its
    own sojourn. An ask that nobody waits for any more when its run begins isn't run; a run goes on
    though its callers' time be up, for who knows how far it is. It has a sojourn of its own, with
    the latest deadline among its callers. A cancelled caller takes its waiting ask along, and can't
    cancel a run.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Ask]], Awaitable[Sequence[Answer | Exception]]],
        *,
        name: str,
        lanes: Lanes,
        max_size: int = 256,
        max_waiting: int = 4096,
        parallel: int = 2,
        deadline: float = 10.0,
        share_equal: bool = False,
        order: Callable[[Ask], Any] | None = None,
        splits: Callable[[Exception], bool] = lambda _: True,
    ) -> None:
        if min(max_size, max_waiting, parallel) < 1 or deadline <= 0:
            raise ValueError(f"the limits of the batch {name} must be positive")
        self.name = name
        self.max_size = max_size
        self.max_waiting = max_waiting
        self.parallel = parallel
        self.deadline = deadline
        self.measures = Measures()
        self._run = run
        self._lanes = lanes
        self._share_equal = share_equal
        self._order = order
        self._splits = splits
        self._waiting: dict[object, _Entry[Ask, Answer]] = {}
        self._running: dict[asyncio.Task[None], list[_Entry[Ask, Answer]]] = {}
        self._turn_is_due = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._drained: list[asyncio.Future[None]] = []

    @property
    def waiting(self) -> int:
        """Asks that no run has taken yet."""
        return len(self._waiting)

    def ask(self, ask: Ask) -> asyncio.Future[Answer]:
        """Ask for one thing, to be run with what else is asked for now.

        Raises Overloaded at once when too many wait, and Unavailable after `close`. The answer
        may be DeadlineExceeded or whatever the run made of this ask.
        """
        entry = self._waiting.get(ask) if self._share_equal else None
        if self._closed or (entry is None and len(self._waiting) >= self.max_waiting):
            self.measures.rejected += 1
            raise Unavailable() if self._closed else Overloaded()
        # Looked up once: before Python 3.12 each look is a system call, `getpid`.
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        if entry is None:
            entry = _Entry(self, ask)
            self._waiting[ask if self._share_equal else entry] = entry
        else:
            self.measures.shared += 1
        self.measures.asks += 1
        caller: _Caller[Answer] = _Caller(loop=loop)
        caller.entry = entry
        caller.since = loop.time()
        caller.until = caller.since + self.deadline
        caller.sojourn = current()
        if caller.sojourn is not None and caller.sojourn.deadline < caller.until:
            caller.until = caller.sojourn.deadline
        entry.callers.append(caller)
        entry.left += 1
        if not self._turn_is_due and len(self._running) < self.parallel:
            # Not at once: all that is asked for in this turn of the loop shall travel together.
            self._turn_is_due = True
            loop.call_soon(self._lanes.enter, self._begin)
        if self._sweeper is None:
            self._sweep_later(loop)
        return caller

    def close(self) -> None:
        """Refuse whatever is asked for from now on; what waits is still served."""
        self._closed = True

    async def drain(self) -> None:
        """Return when nothing waits or runs. Close first, or callers may go on asking."""
        while self._waiting or self._running:
            self._drained.append(asyncio.get_running_loop().create_future())
            await self._drained[-1]
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _claim(self) -> None:
        """Get in line for a lane if there is a reason to."""
        if self._waiting and not self._turn_is_due and len(self._running) < self.parallel:
            self._turn_is_due = True
            self._lanes.enter(self._begin)

    def _begin(self) -> bool:
        """Start the next run in a lane that was handed over; False when nobody waits any more."""
        self._turn_is_due = False
        if not self._waiting:
            return False
        entries = self._take()
        # A context of its own: request ids and spans of whoever asked first aren't everyone's.
        task = asyncio.get_running_loop().create_task(
            self._serve(entries), name=f"batch {self.name}", context=Context()
        )
        self._running[task] = entries
        task.add_done_callback(self._end)
        self._claim()
        return True

    def _take(self) -> "list[_Entry[Ask, Answer]]":
        """Remove a run's worth of the longest waiting."""
        waiting = self._waiting
        if len(waiting) <= self.max_size:
            self._waiting = {}
            return list(waiting.values())
        return [waiting.pop(key) for key in list(islice(waiting, self.max_size))]

    async def _serve(self, entries: "list[_Entry[Ask, Answer]]") -> None:
        """Run the asks, in ever smaller halves where that fails, and tell the callers."""
        time, measures = asyncio.get_running_loop().time, self.measures
        begun = time()
        measures.waits.add([begun - entry.callers[0].since for entry in entries])
        entries = self._in_time(entries, begun)
        if not entries:
            return
        if (order := self._order) is not None:
            entries = sorted(entries, key=lambda entry: order(entry.ask))
        parts = [entries]
        while parts:
            part = parts.pop()
            measures.runs += 1
            measures.sizes.add((len(part),))
            begun = time()
            try:
                outcomes = await self._run([entry.ask for entry in part])
            except Exception as error:  # noqa: BLE001 - whatever it is belongs to the callers
                if len(part) > 1 and self._splits(error):
                    measures.splits += 1
                    half = len(part) // 2
                    parts += part[half:], part[:half]
                else:
                    self._fail(part, error)
            else:
                self._answer(part, outcomes)
            finally:
                measures.run_times.add((time() - begun,))

    def _in_time(
        self, entries: "list[_Entry[Ask, Answer]]", begun: float
    ) -> "list[_Entry[Ask, Answer]]":
        """The asks that somebody still waits for, once their time in the queue is accounted."""
        in_time = []
        latest = begun
        for entry in entries:
            last = begun
            for caller in entry.callers:
                if caller.sojourn is not None:
                    caller.sojourn.queued += begun - caller.since
                if caller.until > last and not caller.done():
                    last = caller.until
            if last > begun:
                in_time.append(entry)
                latest = max(latest, last)
            else:
                self._expire(entry.callers)
                entry.callers.clear()
        enter(Sojourn(latest))
        return in_time

    def _answer(
        self, entries: "list[_Entry[Ask, Answer]]", outcomes: Sequence[Answer | Exception]
    ) -> None:
        if len(outcomes) != len(entries):
            # Not run again in halves: writes with a wrong number of outcomes may be committed.
            wrong = RuntimeError(f"{self.name}: {len(outcomes)} outcomes of {len(entries)} asks")
            outcomes = [wrong] * len(entries)
        for entry, outcome in zip(entries, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self._fail((entry,), outcome)
                continue
            for caller in entry.callers:
                if not caller.done():
                    caller.set_result(outcome)
            entry.callers.clear()  # ends the circle of references, so that no collector has to

    def _fail(self, entries: "Sequence[_Entry[Ask, Answer]]", error: Exception) -> None:
        for entry in entries:
            for caller in entry.callers:
                if not caller.done():
                    caller.fail(copy_of(error))
                    self.measures.failed += 1
            entry.callers.clear()

    def _end(self, run: asyncio.Task[None]) -> None:
        """Hand the lane on, however the run came to its end."""
        entries = self._running.pop(run)
        if run.cancelled():
            self._fail(entries, Unavailable())
        elif (error := run.exception()) is not None:
            # What `splits`, `order` or a strange outcome raised: nobody may be left waiting.
            self._fail(entries, error if isinstance(error, Exception) else Unavailable())
        self._lanes.leave()
        self._claim()
        self._tell_if_drained()

    def _left(self, entry: "_Entry[Ask, Answer]") -> None:
        """Drop an ask that waits for nobody any more; one that runs is undisturbed."""
        entry.left -= 1
        key = entry.ask if self._share_equal else entry
        if not entry.left and self._waiting.get(key) is entry:
            del self._waiting[key]
            entry.callers.clear()
            self._tell_if_drained()

    def _tell_if_drained(self) -> None:
        if self._drained and not self._waiting and not self._running:
            for drained in self._drained:
                if not drained.done():
                    drained.set_result(None)
            self._drained.clear()

    def _sweep_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = loop.call_later(self.deadline / SWEEPS_PER_DEADLINE, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell the callers whose deadline has passed: one timer for all, while there are any."""
        self._sweeper = None
        # Deadlines differ, so all are looked at: 0.1 µs each, a few times in the batch's deadline.
        now = loop.time()
        entries = chain(self._waiting.values(), *self._running.values())
        late = [one for entry in entries for one in entry.callers if one.until <= now]
        for caller in self._expire(late):
            self._left(caller.entry)
        if self._waiting or self._running:
            self._sweep_later(loop)

    def _expire(self, callers: "Sequence[_Caller[Answer]]") -> "list[_Caller[Answer]]":
        """Tell callers that their time is up; gives those who didn't have an answer yet."""
        told = [caller for caller in callers if not caller.done()]
        for caller in told:
            caller.fail(DeadlineExceeded())
        self.measures.expired += len(told)
        return told


class _Entry(Generic[Ask, Answer]):
    """An ask and those who want its answer, of whom `left` haven't gone away."""

    __slots__ = ("ask", "batch", "callers", "left")

    def __init__(self, batch: Batch[Ask, Answer], ask: Ask) -> None:
        self.batch = batch
        self.ask = ask
        self.callers: list[_Caller[Answer]] = []
        self.left = 0


class _Caller(asyncio.Future[Answer]):
    """One caller's claim to an answer, made at `since` and worthless from `until` on.

    Both are on the loop's clock. It tells when it is cancelled; a callback would cost those who
    aren't.
    """

    __slots__ = ("entry", "since", "sojourn", "until")
    entry: _Entry[Any, Answer]
    since: float
    sojourn: Sojourn | None
    until: float

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        self.entry.batch.measures.abandoned += 1
        self.entry.batch._left(self.entry)
        return True

    def fail(self, error: Exception) -> None:
        """Fail, without a word in the log about callers that asked and went on without waiting."""
        self.set_exception(error)
        self.exception()


def copy_of(error: Exception) -> Exception:
    """A copy of an exception for one of several callers, because raising it writes into it.

    Callers that shared one would find each other's frames in its traceback. `copy` calls
    `__init__`, whose parameters may differ from `args`; only built-in exceptions need that.
    """
    kind = type(error)
    try:
        own = copy(error) if kind.__module__ == "builtins" else kind.__new__(kind, *error.args)
    except TypeError:  # a `__new__` that wants something else
        return error
    own.__dict__.update(error.__dict__)
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__
    return own.with_traceback(error.__traceback__)
