"""Load in a closed model: so many connections, each asking again as soon as it is answered.

Good for the top throughput; latencies are those of a server that is kept busy. `choose` gives wrk
where it is installed, otherwise a generator of our own; both run in processes of their own, and
tell their CPU time so that a bottleneck on this side is seen.
"""

import contextlib
import gc
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from mercenary.bench.asyncio_load import Asyncio
from mercenary.bench.generator import Generator, GeneratorError, GeneratorName, Outcome
from mercenary.bench.interrupt import interrupted
from mercenary.bench.traffic import Target, Traffic, lay_out
from mercenary.bench.wrk import Wrk
from mercenary.local.children import Halted
from mercenary.settings import SetupError, cores

CONNECTIONS: Final = 64
# Past this share of a core, a thread of the generator may be what is measured.
BUSY_SHARE: Final = 0.85
# How much longer than asked a generator may take before it counts as stuck, in seconds.
_GRACE_SECONDS: Final = 60
_WATCH_SECONDS: Final = 0.5


class Load(msgspec.Struct, frozen=True):
    """One timed run, with what the generator itself used of the processor."""

    outcome: Outcome
    cpu_seconds: float
    threads: int

    @property
    def errors(self) -> int:
        """Answers that weren't 2xx, and failures of the connection."""
        return sum(self.outcome.errors.values())

    @property
    def rate(self) -> float:
        """Good answers a second."""
        good = self.outcome.requests - self.outcome.errors.get("status", 0)
        return good / self.outcome.seconds

    @property
    def share(self) -> float:
        """How busy a thread of the generator was, 1.0 being a whole core."""
        return self.cpu_seconds / (self.outcome.seconds * self.threads)


def choose(name: GeneratorName | None = None) -> Generator:
    """The generator of that name, by default the best that is there.

    Raises:
        SetupError: wrk is asked for and isn't on PATH.
    """
    threads = min(cores(), 4)
    path = shutil.which("wrk")
    if name == "asyncio" or (name is None and path is None):
        return Asyncio(threads)
    if path is None:
        raise SetupError("wrk is not on PATH; install it, or use --generator asyncio")
    return Wrk(path, threads)


def run(
    generator: Generator,
    traffic: Traffic,
    target: Target,
    *,
    seconds: int,
    connections: int = CONNECTIONS,
    seed: int = 1,
) -> Load:
    """Keep `connections` busy for `seconds`, and tell what they saw.

    Raises:
        GeneratorError: the generator failed or got stuck.
    """
    with tempfile.TemporaryDirectory(prefix="mercenary-load-") as name:
        plan = lay_out(
            traffic, target, Path(name), connections=connections, seconds=seconds, seed=seed
        )
        gc.collect()
        cpu_seconds = run_all(generator.commands(plan), seconds + _GRACE_SECONDS)
        return Load(generator.outcome(plan), cpu_seconds, generator.threads)


def run_all(
    commands: Sequence[list[str]], seconds: float, watch: Callable[[], None] = lambda: None
) -> float:
    """Run these processes to their end; gives the seconds of processor that they used.

    `watch` is called now and then while they run.

    Raises:
        GeneratorError: one failed, or they took longer than so many seconds.
        Halted: somebody wants the bench to stop.
    """
    before = _children_seconds()
    deadline = time.monotonic() + seconds
    running = [
        subprocess.Popen(  # noqa: S603 - our own generators
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for command in commands
    ]
    try:
        for process in running:
            said = _output(process, deadline, watch)
            if process.returncode != 0:
                lines = said.decode(errors="replace").strip().splitlines()
                raise GeneratorError(lines[-1].strip() if lines else "it said nothing")
    except TimeoutError:
        raise GeneratorError(f"it took longer than {seconds:.0f} s") from None
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.communicate()
    return _children_seconds() - before


def _output(process: subprocess.Popen[bytes], deadline: float, watch: Callable[[], None]) -> bytes:
    while time.monotonic() < deadline:
        if interrupted():
            raise Halted
        watch()
        with contextlib.suppress(subprocess.TimeoutExpired):
            said, _ = process.communicate(timeout=_WATCH_SECONDS)
            return said
    raise TimeoutError


def _children_seconds() -> float:
    # Only processes that ended and were waited for count, so a server that runs on doesn't.
    times = os.times()
    return times.children_user + times.children_system
