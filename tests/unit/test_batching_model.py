"""Whatever happens to a batch, each caller is served as a plain one-at-a-time server would."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from mercenary.batching import Batch, Lanes
from mercenary.errors import DeadlineExceeded, Overloaded
from mercenary.sojourn import Sojourn, current, enter


class RefusedError(Exception):
    """The outcome of a row that fails alone."""


class PoisonError(Exception):
    """Brings down the whole run it is in."""


class Row(NamedTuple):
    """An ask; `serial` tells equal ones apart where they are not to be shared."""

    value: int
    serial: int


def one_at_a_time(row: Row) -> int | Exception:
    """Serve one ask: the model. A third of the values fail, in two ways."""
    if row.value % 6 == 4:
        return RefusedError(row.value)
    if row.value % 6 == 5:
        return PoisonError(row.value)
    return row.value * row.value


class Shape(NamedTuple):
    """How a batch is set."""

    max_size: int
    max_waiting: int
    parallel: int
    share_equal: bool
    ordered: bool


class AskStep(NamedTuple):
    """Ask for a value in one of the batches, by somebody who waits for so many hours."""

    batch: int
    value: int
    hours: int


class CancelStep(NamedTuple):
    """Cancel one of the callers so far."""

    caller: int


class LoopStep(NamedTuple):
    """Let the loop turn."""

    turns: int


class FinishStep(NamedTuple):
    """Let one of the runs under way go on."""

    run: int


class WaitStep(NamedTuple):
    """Let hours pass."""

    hours: int


class Clockwork(asyncio.SelectorEventLoop):
    """A loop whose clock the story turns on; what really passes meanwhile are seconds."""

    turned_on = 0.0

    def time(self) -> float:
        return super().time() + self.turned_on


Step = AskStep | CancelStep | LoopStep | FinishStep | WaitStep
HOUR = 3600.0
LONGEST_WAIT = 12  # hours: what the batches allow
small = st.integers(0, 11)
steps = st.lists(
    st.one_of(
        st.builds(AskStep, st.integers(0, 1), small, st.integers(1, 20)),
        st.builds(AskStep, st.integers(0, 1), small, st.integers(1, 20)),
        st.builds(CancelStep, st.integers(0, 40)),
        st.builds(LoopStep, st.integers(1, 4)),
        st.builds(FinishStep, st.integers(0, 5)),
        st.builds(WaitStep, st.integers(1, 4)),
    ),
    min_size=15,  # hypothesis favours short lists, in which little happens
    max_size=80,
)
shapes = st.builds(
    Shape, st.integers(1, 6), st.integers(1, 12), st.integers(1, 3), st.booleans(), st.booleans()
)


class Asked(NamedTuple):
    """One caller: of which batch, for what, until when, and its claim to an answer."""

    batch: int
    row: Row
    until: float
    answer: asyncio.Future[int]

    @property
    def told(self) -> bool:
        """Whether it heard that its time was up."""
        return (
            self.answer.done()
            and not self.answer.cancelled()
            and isinstance(self.answer.exception(), DeadlineExceeded)
        )


@dataclass
class Server:
    """The function behind a batch; a run goes on when the test says so."""

    number: int
    shape: Shape
    lanes: Lanes
    all_servers: "list[Server]"
    callers: list[Asked]
    runs: set[asyncio.Task[Any] | None] = field(default_factory=set)
    started: set[Row] = field(default_factory=set)
    served: Counter[Row] = field(default_factory=Counter)
    culprits: Counter[Row] = field(default_factory=Counter)
    under_way: int = 0
    gates: list[asyncio.Future[None]] = field(default_factory=list)
    held: bool = True
    broken: list[str] = field(default_factory=list)

    async def run(self, rows: Sequence[Row]) -> Sequence[int | Exception]:
        self.started.update(rows)
        self.under_way += 1
        self.check(rows)
        if self.held:
            gate = asyncio.get_running_loop().create_future()
            self.gates.append(gate)
            await gate
        self.under_way -= 1
        outcomes = [one_at_a_time(row) for row in rows]
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, PoisonError):
                self.culprits.update(rows if len(rows) == 1 else ())
                raise PoisonError(row.value)
        self.served.update(rows)
        return outcomes

    def check(self, rows: Sequence[Row]) -> None:
        """Keep the rules; an assertion in a run would only reach its callers."""
        kept = {
            "a run has an ask": len(rows) > 0,
            "a run keeps its size": len(rows) <= self.shape.max_size,
            "a batch keeps its runs": self.under_way <= self.shape.parallel,
            "all batches keep to the lanes": sum(one.under_way for one in self.all_servers)
            <= self.lanes.count,
            "equal asks are one": not self.shape.share_equal or len(set(rows)) == len(rows),
            "the order is kept": not self.shape.ordered or list(rows) == sorted(rows),
        }
        task = asyncio.current_task()
        if task not in self.runs:  # halves of a run begin later, and go on whatever the time is
            self.runs.add(task)
            kept |= self.check_deadlines(rows)
        self.broken += [rule for rule, holds in kept.items() if not holds]

    def check_deadlines(self, rows: Sequence[Row]) -> dict[str, bool]:
        now, stay = asyncio.get_running_loop().time(), current()
        mine = [one for one in self.callers if one.batch == self.number and not one.answer.done()]
        waiting = {row: [one.until for one in mine if one.row == row] for row in rows}
        latest = max((until for untils in waiting.values() for until in untils), default=0)
        beyond = stay.deadline - latest if stay is not None else -HOUR
        # An hour is long; between the batch's look at the clock and ours some moments may pass.
        return {
            "nothing is run that nobody waits for": all(
                any(until > now - HOUR / 2 for until in untils) for untils in waiting.values()
            ),
            # Equal asks may wait for the next run already, so less is known of theirs.
            "a run has its callers' latest deadline": beyond < HOUR / 2
            and (beyond > -HOUR / 2 or self.shape.share_equal),
        }


@dataclass
class Story:
    """One example: two batches on shared lanes, and what their callers live to see."""

    shapes: tuple[Shape, Shape]
    lanes: Lanes
    servers: list[Server] = field(default_factory=list)
    batches: list[Batch[Row, int]] = field(default_factory=list)
    callers: list[Asked] = field(default_factory=list)
    complaints: list[dict[str, Any]] = field(default_factory=list)

    async def tell(self, steps: list[Step]) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, complaint: self.complaints.append(complaint))
        for number, shape in enumerate(self.shapes):
            server = Server(number, shape, self.lanes, self.servers, self.callers)
            self.servers.append(server)
            self.batches.append(
                Batch(
                    server.run,
                    name="model",
                    lanes=self.lanes,
                    max_size=shape.max_size,
                    max_waiting=shape.max_waiting,
                    parallel=shape.parallel,
                    deadline=LONGEST_WAIT * HOUR,
                    share_equal=shape.share_equal,
                    order=(lambda row: row) if shape.ordered else None,
                )
            )
        for step in steps:
            await self.take(step)
        await self.end()

    async def take(self, step: Step) -> None:
        match step:
            case AskStep(batch, value, hours):
                self.ask(batch, value, hours)
            case CancelStep(caller) if self.callers:
                self.callers[caller % len(self.callers)].answer.cancel()
            case WaitStep(hours):
                loop = asyncio.get_running_loop()
                assert isinstance(loop, Clockwork)
                loop.turned_on += hours * HOUR
            case LoopStep(turns):
                for _ in range(turns):
                    await asyncio.sleep(0)
            case FinishStep(run):
                gates = [gate for one in self.servers for gate in one.gates if not gate.done()]
                if gates:
                    gates[run % len(gates)].set_result(None)

    def ask(self, number: int, value: int, hours: int) -> None:
        batch, server = self.batches[number], self.servers[number]
        row = Row(value, 0 if server.shape.share_equal else len(self.callers))
        before = batch.waiting
        now = asyncio.get_running_loop().time()
        enter(Sojourn(now + hours * HOUR))
        try:
            asked = batch.ask(row)
        except Overloaded:
            assert before == batch.max_waiting
            return
        assert before <= batch.waiting <= batch.max_waiting
        until = now + min(hours, LONGEST_WAIT) * HOUR
        self.callers.append(Asked(number, row, until, asked))

    async def end(self) -> None:
        """Let everything go on until nobody waits."""
        for server in self.servers:
            server.held = False
            for gate in server.gates:
                if not gate.done():
                    gate.set_result(None)
        async with asyncio.timeout(5):
            for batch in self.batches:
                await batch.drain()
        now = asyncio.get_running_loop().time()
        for _, row, until, asked in self.callers:
            assert asked.done()
            expected = one_at_a_time(row)
            if asked.cancelled():
                continue
            if isinstance(asked.exception(), DeadlineExceeded):
                assert until <= now
            elif isinstance(expected, Exception):
                failure = asked.exception()
                assert (type(failure), str(failure)) == (type(expected), str(expected))
            else:
                assert asked.result() == expected
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def check(self) -> None:
        """What must hold once the loop is closed."""
        assert self.complaints == []
        assert self.lanes.busy == 0
        for number, server in enumerate(self.servers):
            assert server.broken == []
            mine = [one for one in self.callers if one.batch == number]
            effects = server.served + server.culprits
            wanted = {one.row for one in mine if not one.answer.cancelled() and not one.told}
            assert wanted <= set(effects) <= {one.row for one in mine}
            if not server.shape.share_equal:
                assert set(effects.values()) <= {1}
            # An ask that nobody waits for has its effect if its run had begun, and none otherwise.
            assert set(effects) == server.started
            self.check_measures(number, len(mine))

    def check_measures(self, number: int, callers: int) -> None:
        measures = self.batches[number].measures
        mine = [one for one in self.callers if one.batch == number]
        cancelled = sum(one.answer.cancelled() for one in mine)
        expired = sum(one.told for one in mine)
        answered = [one.answer for one in mine if not one.answer.cancelled()]
        failed = sum(answer.exception() is not None for answer in answered) - expired
        assert (measures.asks, measures.abandoned) == (callers, cancelled)
        assert (measures.failed, measures.expired) == (failed, expired)
        assert measures.runs == measures.sizes.count == measures.run_times.count


@settings(max_examples=200, deadline=None)
@given(steps=steps, shapes=st.tuples(shapes, shapes), lanes=st.integers(1, 4))
def test_each_caller_is_served_as_if_alone(
    steps: list[Step], shapes: tuple[Shape, Shape], lanes: int
) -> None:
    story = Story(shapes, Lanes(lanes))
    with asyncio.Runner(loop_factory=Clockwork) as runner:
        runner.run(story.tell(steps))
    story.check()
