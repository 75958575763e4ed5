"""Workers in processes of their own, and a Valkey that a test may kill."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from mercenary.cache import valkey as cache
from mercenary.cache.valkey import Valkey
from mercenary.local.valkey import EmbeddedValkey
from tests.conftest import server_folder
from tests.limits.flood import Counted, Order

ROOT = Path(__file__).parents[2]
WORKERS = 8
# So long that a busy machine doesn't look like a Valkey that hangs.
PATIENCE = 10.0


class Flood:
    """One worker's process."""

    def __init__(self, url: str, *, seconds: float = PATIENCE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.limits.flood", url, str(WORKERS), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )

    def ready(self) -> "Flood":
        """Wait until it can take an order."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"\n"
        return self

    def order(self, order: Order) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(order) + b"\n")
        self.process.stdin.flush()

    def outcome(self) -> tuple[int, Counted | None]:
        """How many requests were granted, and what else was counted if the worker still lives."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        granted = line.count(b"+")
        counted = line.lstrip(b"+")
        return granted, msgspec.json.decode(counted, type=Counted) if counted else None

    def asks(self, limit: int, subject: str, **options: Any) -> tuple[int, Counted | None]:
        """Carry out an order alone."""
        self.order(Order(limit, subject, **options))
        return self.outcome()

    def stop(self) -> None:
        """Let it end, if it hasn't been killed already."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait(timeout=30)


def all_at_once(floods: Sequence[Flood], order: Order) -> list[tuple[int, Counted | None]]:
    """Have all of them carry out the same order, and wait for every outcome."""
    for each in floods:
        each.order(order)
    return [each.outcome() for each in floods]


Floods = Callable[..., list[Flood]]


@pytest.fixture
def floods() -> Iterator[Floods]:
    """Starts workers on a Valkey; they are stopped with the test."""
    started: list[Flood] = []

    def start(url: str, count: int, *, seconds: float = PATIENCE) -> list[Flood]:
        new = [Flood(url, seconds=seconds) for _ in range(count)]
        started.extend(new)
        return [each.ready() for each in new]

    yield start
    for each in started:
        each.stop()


@pytest.fixture(scope="module")
def eight(valkey: EmbeddedValkey) -> Iterator[list[Flood]]:
    """Eight workers that a module's tests share."""
    started = [Flood(valkey.url()) for _ in range(WORKERS)]
    yield [each.ready() for each in started]
    for each in started:
        each.stop()


@pytest.fixture(scope="module")
async def in_use(valkey: EmbeddedValkey) -> AsyncIterator[Valkey]:
    """The session's Valkey as this process's own."""
    cache.use(Valkey(valkey.url(), seconds=PATIENCE))
    yield cache.current()
    await cache.current().close()
    cache.use(None)


@pytest.fixture
def subject() -> str:
    """A caller whom no other test knows."""
    return uuid4().hex


@pytest.fixture
def mortal() -> Iterator[EmbeddedValkey]:
    """A Valkey of the test's own, to stop, kill and start again."""
    with server_folder() as folder:
        server = EmbeddedValkey(folder)
        server.start()
        yield server
        server.stop()
