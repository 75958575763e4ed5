"""Makes the slices of a marketplace in processes of their own, ahead of the loading.

Run as `python -m mercenary.seeding.slices PROJECTS SEED FIRST STEP`, it writes every STEP-th slice
to standard output, each of its tables as eight bytes of length and the packed rows. A maker whose
reader is gone ends with the next write, so none outlives a seeding that was killed.
"""

import asyncio
import gc
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from mercenary.seeding.marketplace import SLICE_PROJECTS, Marketplace, Slice
from mercenary.seeding.population import Population
from mercenary.settings import cores

FEWEST_USERS: Final = 50
PROJECTS_PER_USER: Final = 20
# More than two are never needed: they make rows faster than one connection stores them.
MOST_MAKERS: Final = 2
# How much is read ahead of the loading, about: a few slices.
AHEAD_BYTES: Final = 4 << 20


def users_of(projects: int) -> int:
    """How many users a number of projects comes with."""
    return max(FEWEST_USERS, projects // PROJECTS_PER_USER)


@asynccontextmanager
async def made_slices(projects: int, seed: int) -> AsyncIterator[AsyncIterator[Slice]]:
    """All slices in order, made here when there is just one, and by makers otherwise."""
    count = -(-projects // SLICE_PROJECTS)
    if count == 1:
        yield _made_here(projects, seed)
        return
    step = min(MOST_MAKERS, cores())
    makers: list[Process] = []
    try:
        for first in range(step):
            arguments = map(str, (projects, seed, first, step))
            makers.append(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", __name__, *arguments), stdout=PIPE, limit=AHEAD_BYTES
                )
            )
        yield _made_by(makers, count)
    finally:
        for maker in makers:
            with suppress(ProcessLookupError):
                maker.kill()
            await maker.wait()


async def _made_here(projects: int, seed: int) -> AsyncIterator[Slice]:
    yield Marketplace(projects, Population(users_of(projects), seed)).slice(0)


async def _made_by(makers: list[Process], count: int) -> AsyncIterator[Slice]:
    for number in range(count):
        output = makers[number % len(makers)].stdout
        if output is None:
            raise RuntimeError("a maker of slices was started without a pipe")
        tables = []
        for _ in Slice._fields:
            size = int.from_bytes(await output.readexactly(8), "big")
            tables.append(await output.readexactly(size))
        yield Slice(*tables)


def make(projects: int, seed: int, first: int, step: int) -> None:
    """Write slices until there are no more, or nobody reads them."""
    gc.disable()  # nothing here refers to itself, and the process is short
    marketplace = Marketplace(projects, Population(users_of(projects), seed))
    with suppress(BrokenPipeError), sys.stdout.buffer as out:
        for number in range(first, -(-projects // SLICE_PROJECTS), step):
            for table in marketplace.slice(number):
                out.write(len(table).to_bytes(8, "big") + table)
            out.flush()


if __name__ == "__main__":
    make(*map(int, sys.argv[1:]))
