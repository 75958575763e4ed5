"""Load by many callers who take their time: each keeps a connection and asks now and then.

An open model: a caller's next request is due so many seconds after the last one was, whatever the
server does, and its latency counts from when it was due. A process runs this module with the path
of its part of the plan, and leaves its latencies beside it.

A connection counts as open once it was answered: the kernel completes connections that no worker
has accepted yet.
"""

import asyncio
import random
import sys
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Final, cast

import msgspec
import uvloop

from mercenary.bench.asyncio_load import Asks
from mercenary.bench.generator import TIMEOUT_SECONDS, python_module
from mercenary.bench.http_answers import AnswerReader
from mercenary.bench.traffic import Plan
from mercenary.local.open_files import allow_open_files

# Seconds between two requests of a caller: from 5 to nearly 15, so that so many callers ask a
# tenth as often a second, with 2.5% to spare against chance.
PAUSES: Final = (5.0, 14.5)
# Files of a process beside its connections.
OTHER_FILES: Final = 64
_CONNECTING_AT_ONCE: Final = 64
_LOOK_SECONDS: Final = 0.1


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one of so many `processes` is to do. Times are seconds.

    It opens its connections within `opening`, waits for those that are late and for the other
    processes until `opening_limit`, and then measures.
    """

    plan: Plan
    processes: int
    source: str
    first_caller: int
    opening: float
    opening_limit: float


class Seen(msgspec.Struct, frozen=True):
    """What one process saw. `open_first` and `open_last` are at the window's start and end."""

    open_first: int
    open_last: int
    errors: dict[str, int]
    cpu_seconds: float


def command(part: Path) -> list[str]:
    """The command that plays a part."""
    return python_module(__name__, str(part))


class Crowd:
    """The callers of one process."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.asks = Asks(part.plan)
        self.random = random.Random(part.plan.seed)  # noqa: S311 - a workload, no secret
        self.latencies = array("q")
        self.errors: Counter[str] = Counter()
        self.callers: set[Caller] = set()
        self.measuring = False

    async def run(self) -> Seen:
        """Open every connection, measure for the plan's seconds, and hang up."""
        plan = self.part.plan
        gate = asyncio.Semaphore(_CONNECTING_AT_ONCE)
        opening = [
            asyncio.create_task(self._open(number, gate)) for number in range(plan.connections)
        ]
        await self._opened()
        for task in opening:
            task.cancel()  # those that have their connection are done
        open_first, self.measuring = self._open_ones(), True
        cpu = time.process_time()
        await asyncio.sleep(plan.seconds)
        self.measuring = False
        seen = Seen(open_first, self._open_ones(), self.errors, time.process_time() - cpu)
        for caller in list(self.callers):
            caller.leave()
        await asyncio.sleep(0)
        return seen

    def count(self, kind: str) -> None:
        """Count a failure, whenever it is: a connection that was lost early is an error, too."""
        self.errors[kind] += 1

    def _open_ones(self) -> int:
        return sum(caller.was_answered for caller in self.callers)

    async def _opened(self) -> None:
        """Wait until all connections of all processes are open, or the time for it is over."""
        for _ in range(round(self.part.opening_limit / _LOOK_SECONDS)):
            await asyncio.sleep(_LOOK_SECONDS)
            if self._everybody_is_open():
                return

    def _everybody_is_open(self) -> bool:
        """Tell the other processes when this one is ready, and see whether they are."""
        plan = self.part.plan
        folder = Path(plan.folder)
        if self._open_ones() == plan.connections:
            (folder / f"{plan.run}.ready").touch()
        return len(list(folder.glob("*.ready"))) == self.part.processes

    async def _open(self, number: int, gate: asyncio.Semaphore) -> None:
        plan, part = self.part.plan, self.part
        await asyncio.sleep(part.opening * number / plan.connections)
        async with gate:
            try:
                await asyncio.get_running_loop().create_connection(
                    lambda: Caller(self, part.first_caller + number),
                    plan.address,
                    plan.port,
                    local_addr=(part.source, 0),
                )
            except OSError:
                self.count("connect")


class Caller(asyncio.Protocol):
    """One person: a connection, a token, and requests now and then."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.was_answered = False
        self._crowd = crowd
        self._number = number
        self._reader = AnswerReader()
        self._leaving = False
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask at once, which shows that the connection was accepted."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own isn't a subclass
        self._crowd.callers.add(self)
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Take the next part of an answer; once it is whole, pause until the next is due."""
        answer = self._reader.feed(data)
        if answer is None or self._leaving or self._late is None:
            return
        self._late.cancel()
        now = self._loop.time()
        if self._crowd.measuring:
            self._crowd.latencies.append(round((now - self._due) * 1e9))
        if not 200 <= answer.status <= 299:
            self._crowd.count(f"status {answer.status}")
        pause = self._crowd.random.uniform(*PAUSES)
        # Each is somewhere in a pause at first, or all would be in the same one.
        self._due += pause if self.was_answered else pause * self._crowd.random.random()
        self.was_answered = True
        self._timer = self._loop.call_at(max(now, self._due), self._ask)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        """Count a connection that the server gave up: all are to last."""
        self._crowd.callers.discard(self)
        if not self._leaving:
            self._crowd.count("closed")
        self._forget_timers()

    def leave(self) -> None:
        """Hang up."""
        self._leaving = True
        self._forget_timers()
        self._transport.abort()

    def _ask(self) -> None:
        self._late = self._loop.call_at(self._due + TIMEOUT_SECONDS, self._give_up)
        self._transport.write(self._crowd.asks.next(self._number))

    def _give_up(self) -> None:
        self._crowd.count("timeout")
        self._crowd.callers.discard(self)
        self.leave()

    def _forget_timers(self) -> None:
        for timer in (self._timer, self._late):
            if timer is not None:
                timer.cancel()


def main(path: Path) -> None:
    """Play one process's part."""
    part = msgspec.json.decode(path.read_bytes(), type=Part)
    allow_open_files(part.plan.connections + OTHER_FILES)
    crowd = Crowd(part)
    seen = uvloop.run(crowd.run())
    path.with_suffix(".latencies").write_bytes(crowd.latencies.tobytes())
    path.with_suffix(".seen").write_bytes(msgspec.json.encode(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
