"""A function for batches to run that a test holds in its hands."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from mercenary.batching import Batch, Lanes


class PoisonError(Exception):
    """Makes a whole run fail."""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - it may be anything a test looks at
            await asyncio.sleep(0)


async def turns(count: int = 8) -> None:
    """Give the loop time for whatever is due at once, to see what isn't."""
    for _ in range(count):
        await asyncio.sleep(0)


class Desk:
    """A run that keeps a record and goes no further than the test lets it."""

    def __init__(self, *, held: bool = False) -> None:
        self.runs: list[list[int]] = []
        self.gates: list[asyncio.Future[None]] = []
        self.held = held
        self.poison: set[int] = set()

    async def run(self, asks: Sequence[int]) -> Sequence[int | Exception]:
        self.runs.append(list(asks))
        if self.held:
            self.gates.append(asyncio.get_running_loop().create_future())
            await self.gates[-1]
        if self.poison.intersection(asks):
            raise PoisonError(*sorted(self.poison.intersection(asks)))
        return [-ask for ask in asks]

    async def busy(self, runs: int) -> None:
        """Return as soon as so many runs have begun."""
        await until(lambda: len(self.runs) >= runs)

    def release(self) -> None:
        """Let every run go on, and the later ones too."""
        self.held = False
        for gate in self.gates:
            if not gate.done():
                gate.set_result(None)


def batch_of(desk: Desk, *, lanes: Lanes | None = None, **options: Any) -> Batch[int, int]:
    return Batch(desk.run, name="test", lanes=lanes or Lanes(4), **options)


async def outcomes(*asked: "asyncio.Future[int]") -> list[Any]:
    async with asyncio.timeout(5):
        return await asyncio.gather(*asked, return_exceptions=True)
