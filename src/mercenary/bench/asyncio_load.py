"""Load by our own generator, for machines without wrk.

Several processes, each with a share of the connections, on asyncio's bare protocols. A process
runs this module with the path of its part of the plan, and leaves its latencies beside it.
"""

import asyncio
import random
import sys
import time
from array import array
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Final, cast

import msgspec
import uvloop

from mercenary.bench.generator import (
    TIMEOUT_SECONDS,
    GeneratorError,
    GeneratorName,
    Outcome,
    percentile,
    python_module,
)
from mercenary.bench.http_answers import AnswerReader
from mercenary.bench.traffic import Plan, PlannedAsk, read_lines

_PAUSE_SECONDS: Final = 0.1
_KINDS: Final = ("status", "connect", "read", "write", "timeout")


class Part(msgspec.Struct, frozen=True):
    """What one process saw; its latencies lie beside it in nanoseconds."""

    seconds: float
    errors: dict[str, int]


class Asyncio:
    """Our own generator with so many processes."""

    name: GeneratorName = "asyncio"

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def commands(self, plan: Plan) -> Sequence[list[str]]:
        """One process for each core, with an equal share of the connections."""
        folder = Path(plan.folder)
        commands = []
        for number in range(self.threads):
            connections = len(range(number, plan.connections, self.threads))
            part = msgspec.structs.replace(
                plan,
                connections=connections,
                seed=plan.seed * 1000 + number,
                run=f"{plan.run}-{number}",
            )
            path = folder / f"part-{number}.json"
            path.write_bytes(msgspec.json.encode(part))
            commands.append(python_module(__name__, str(path)))
        return commands

    def outcome(self, plan: Plan) -> Outcome:
        """Put together what the processes left.

        Raises:
            GeneratorError: one left nothing.
        """
        latencies: list[int] = []
        errors = dict.fromkeys(_KINDS, 0)
        seconds = 0.0
        for number in range(self.threads):
            path = Path(plan.folder, f"part-{number}.json")
            try:
                part = msgspec.json.decode(path.with_suffix(".result").read_bytes(), type=Part)
            except FileNotFoundError:
                raise GeneratorError(f"process {number} left no result") from None
            seconds = max(seconds, part.seconds)
            for kind, found in part.errors.items():
                errors[kind] += found
            taken = array("q")
            taken.frombytes(path.with_suffix(".latencies").read_bytes())
            latencies.extend(taken)
        latencies.sort()
        p50, p95, p99 = (percentile(latencies, share) / 1e6 for share in (0.50, 0.95, 0.99))
        return Outcome(len(latencies), seconds, p50, p95, p99, errors)


class Asks:
    """Composes the requests of one process."""

    def __init__(self, plan: Plan) -> None:
        folder = Path(plan.folder)
        self._random = random.Random(plan.seed)  # noqa: S311 - a workload, no secret
        self._write_share = plan.write_share
        self._ids = read_lines(folder, "ids")
        self._next_id = self._random.randrange(len(self._ids))
        self._run = plan.run
        self._sent = count(1)
        self._host = plan.host
        self._kinds = [
            (ask, read_lines(folder, f"{number}.tokens"), read_lines(folder, f"{number}.bodies"))
            for number, ask in enumerate(plan.asks)
        ]

    def next(self, caller: int | None = None) -> bytes:
        """The next request's bytes, from any caller or, if it is a usual one, from that one."""
        writes = self._write_share > 0 and self._random.random() < self._write_share
        ask, tokens, bodies = self._kinds[1 if writes else 0]
        if caller is not None and tokens and not writes:
            tokens = [tokens[caller % len(tokens)]]
        return self._compose(ask, tokens, bodies)

    def _compose(self, ask: PlannedAsk, tokens: list[str], bodies: list[str]) -> bytes:
        path = ask.path
        if "{id}" in path:
            path = path.replace("{id}", self._ids[self._next_id])
            self._next_id = (self._next_id + 1) % len(self._ids)
        lines = [f"{ask.method} {path} HTTP/1.1", f"Host: {self._host}"]
        if tokens:
            lines.append(f"Authorization: Bearer {self._random.choice(tokens)}")
        if ask.keyed:
            lines.append(f"Idempotency-Key: {self._run}-{next(self._sent)}")
        body = self._random.choice(bodies).encode() if bodies else b""
        if bodies:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return ("\r\n".join([*lines, ask.lines]) + "\r\n").encode() + body


class Crowd:
    """The callers of one process, and what they see until the time is up."""

    def __init__(self, plan: Plan) -> None:
        self.asks = Asks(plan)
        self.latencies = array("q")
        self.errors = dict.fromkeys(_KINDS, 0)
        self.over = False
        self.seconds = 0.0
        self._plan = plan
        self._callers: set[Caller] = set()

    async def run(self) -> None:
        """Keep every connection busy for the plan's seconds."""
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._plan.connections):
                group.create_task(self._keep_connected())
            end = started + self._plan.seconds
            while (left := end - time.perf_counter()) > 0:
                await asyncio.sleep(min(left, 0.5))
                self._give_up_on_late()
            self.seconds = time.perf_counter() - started
            self.over = True
            for caller in list(self._callers):
                caller.leave()

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.over:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    _, caller = await loop.create_connection(
                        lambda: Caller(self),
                        self._plan.address,
                        self._plan.port,
                        ssl=True if self._plan.tls else None,
                    )
            except OSError:  # refused, reset, or TimeoutError
                self.errors["connect"] += 1
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            self._callers.add(caller)
            await caller.gone
            self._callers.discard(caller)

    def _give_up_on_late(self) -> None:
        late = time.perf_counter_ns() - TIMEOUT_SECONDS * 1_000_000_000
        for caller in list(self._callers):
            if caller.asked_at < late:
                self.errors["timeout"] += 1
                caller.leave()


class Caller(asyncio.Protocol):
    """One connection: asks, waits for the whole answer, asks again."""

    def __init__(self, crowd: Crowd) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked_at = time.perf_counter_ns()
        self._crowd = crowd
        self._reader = AnswerReader()
        self._leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time, unless time is up by now."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own isn't a subclass
        if self._crowd.over:
            self.leave()
        else:
            self._ask()

    def data_received(self, data: bytes) -> None:
        """Take the next part of an answer; once it is whole, ask again."""
        answer = self._reader.feed(data)
        if answer is None or self._leaving:
            return
        self._crowd.latencies.append(time.perf_counter_ns() - self.asked_at)
        if not 200 <= answer.status <= 299:
            self._crowd.errors["status"] += 1
        if answer.closes:
            self.leave()
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count an answer that never came."""
        if not self._leaving:
            self._crowd.errors["read" if exc is None else "write"] += 1
        self.gone.set_result(None)

    def leave(self) -> None:
        """Hang up; what is still to come isn't counted."""
        self._leaving = True
        self._transport.abort()

    def _ask(self) -> None:
        self.asked_at = time.perf_counter_ns()
        self._transport.write(self._crowd.asks.next())


def main(path: Path) -> None:
    """Play one process's part of a plan."""
    crowd = Crowd(msgspec.json.decode(path.read_bytes(), type=Plan))
    uvloop.run(crowd.run())
    path.with_suffix(".latencies").write_bytes(crowd.latencies.tobytes())
    part = Part(crowd.seconds, crowd.errors)
    path.with_suffix(".result").write_bytes(msgspec.json.encode(part))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
