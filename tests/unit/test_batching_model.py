"""Whatever happens to a batch, each caller is served as a plain one-at-a-time server would."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from mercenary.batching import Batch, Lanes
from mercenary.errors import Overloaded


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
    """Ask for a value in one of the batches."""

    batch: int
    value: int


class CancelStep(NamedTuple):
    """Cancel one of the callers so far."""

    caller: int


class LoopStep(NamedTuple):
    """Let the loop turn."""

    turns: int


class FinishStep(NamedTuple):
    """Let one of the runs under way go on."""

    run: int


Step = AskStep | CancelStep | LoopStep | FinishStep
small = st.integers(0, 11)
steps = st.lists(
    st.one_of(
        st.builds(AskStep, st.integers(0, 1), small),
        st.builds(AskStep, st.integers(0, 1), small),
        st.builds(CancelStep, st.integers(0, 40)),
        st.builds(LoopStep, st.integers(1, 4)),
        st.builds(FinishStep, st.integers(0, 5)),
    ),
    min_size=15,  # hypothesis favours short lists, in which little happens
    max_size=80,
)
shapes = st.builds(
    Shape, st.integers(1, 6), st.integers(1, 12), st.integers(1, 3), st.booleans(), st.booleans()
)


@dataclass
class Server:
    """The function behind a batch; a run goes on when the test says so."""

    shape: Shape
    lanes: Lanes
    all_servers: "list[Server]"
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
        self.broken += [rule for rule, holds in kept.items() if not holds]


@dataclass
class Story:
    """One example: two batches on shared lanes, and what their callers live to see."""

    shapes: tuple[Shape, Shape]
    lanes: Lanes
    servers: list[Server] = field(default_factory=list)
    batches: list[Batch[Row, int]] = field(default_factory=list)
    callers: list[tuple[int, Row, asyncio.Future[int]]] = field(default_factory=list)
    complaints: list[dict[str, Any]] = field(default_factory=list)

    async def tell(self, steps: list[Step]) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, complaint: self.complaints.append(complaint))
        for shape in self.shapes:
            server = Server(shape, self.lanes, self.servers)
            self.servers.append(server)
            self.batches.append(
                Batch(
                    server.run,
                    name="model",
                    lanes=self.lanes,
                    max_size=shape.max_size,
                    max_waiting=shape.max_waiting,
                    parallel=shape.parallel,
                    share_equal=shape.share_equal,
                    order=(lambda row: row) if shape.ordered else None,
                )
            )
        for step in steps:
            await self.take(step)
        await self.end()

    async def take(self, step: Step) -> None:
        match step:
            case AskStep(batch, value):
                self.ask(batch, value)
            case CancelStep(caller) if self.callers:
                self.callers[caller % len(self.callers)][2].cancel()
            case LoopStep(turns):
                for _ in range(turns):
                    await asyncio.sleep(0)
            case FinishStep(run):
                gates = [gate for one in self.servers for gate in one.gates if not gate.done()]
                if gates:
                    gates[run % len(gates)].set_result(None)

    def ask(self, number: int, value: int) -> None:
        batch, server = self.batches[number], self.servers[number]
        row = Row(value, 0 if server.shape.share_equal else len(self.callers))
        before = batch.waiting
        try:
            asked = batch.ask(row)
        except Overloaded:
            assert before == batch.max_waiting
            return
        assert before <= batch.waiting <= batch.max_waiting
        self.callers.append((number, row, asked))

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
        for _, row, asked in self.callers:
            assert asked.done()
            expected = one_at_a_time(row)
            if asked.cancelled():
                continue
            if isinstance(expected, Exception):
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
            mine = [(row, asked) for batch, row, asked in self.callers if batch == number]
            effects = server.served + server.culprits
            wanted = {row for row, asked in mine if not asked.cancelled()}
            assert wanted <= set(effects) <= {row for row, _ in mine}
            if not server.shape.share_equal:
                assert set(effects.values()) <= {1}
            # A cancelled ask has its effect if its run had begun, and none otherwise.
            assert set(effects) == server.started
            self.check_measures(number, len(mine))

    def check_measures(self, number: int, callers: int) -> None:
        measures = self.batches[number].measures
        asked = [asked for batch, _, asked in self.callers if batch == number]
        cancelled = sum(one.cancelled() for one in asked)
        failed = sum(not one.cancelled() and one.exception() is not None for one in asked)
        assert (measures.asks, measures.abandoned, measures.failed) == (callers, cancelled, failed)
        assert measures.runs == measures.sizes.count == measures.run_times.count
        assert measures.expired == 0


@settings(max_examples=200, deadline=None)
@given(steps=steps, shapes=st.tuples(shapes, shapes), lanes=st.integers(1, 4))
def test_each_caller_is_served_as_if_alone(
    steps: list[Step], shapes: tuple[Shape, Shape], lanes: int
) -> None:
    story = Story(shapes, Lanes(lanes))
    asyncio.run(story.tell(steps))
    story.check()
