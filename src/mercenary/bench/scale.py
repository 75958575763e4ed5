"""`mercenary bench scale`: whether the figures stay what they are as the marketplace grows.

Marketplaces of all sizes run side by side, each on servers of its own, and take turns in each kind
of work, so that what else the machine does hits all of them alike. What is asked over HTTP is that
of `mercenary bench api`, what is asked of the database in this process that of `mercenary bench
db`.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec
import uvloop

from mercenary.bench import api, contenders, database, facts, load, zipf
from mercenary.bench.contenders import Contender
from mercenary.bench.database import timed
from mercenary.bench.generator import GeneratorName
from mercenary.bench.growth import Point, points_of, verdicts_of
from mercenary.bench.interrupt import ctrl_c_noted, interrupted
from mercenary.bench.marketplace import explore
from mercenary.bench.rates import Course
from mercenary.bench.report import Measurement
from mercenary.bench.traffic import Traffic
from mercenary.bench.verdicts import Judged
from mercenary.db import engine
from mercenary.local.children import Halted
from mercenary.seeding.seed import SCALES
from mercenary.settings import Settings, cores

if TYPE_CHECKING:
    from mercenary.bench.database_work import Extent, Operation

SIZES: Final = ("10k", "100k", "1M")
WORK: Final = (*api.FLOORS, *database.FLOORS)
CALLERS: Final = 64
"""Who ask the database at once."""
# A million projects are seeded within three minutes where nothing else runs.
_START_SECONDS: Final = 600.0
_SEEDING_SECONDS: Final = 0.0006


@dataclass(frozen=True)
class Options:
    """`runs` of `seconds` of each of the `work`, at each of the `sizes`."""

    sizes: tuple[str, ...] = SIZES
    work: tuple[str, ...] = WORK
    seconds: int = 3
    runs: int = 3
    workers: int = 0
    connections: int = load.CONNECTIONS
    generator: GeneratorName | None = None


@dataclass(frozen=True)
class Size:
    """A marketplace: its server and what that is asked, its database and what that is asked."""

    contender: Contender
    traffic: Mapping[str, Traffic]
    database: engine.Database
    operations: Mapping[str, "Operation"]


def measure(options: Options, say: Callable[[str], None]) -> Judged[Point]:
    """Measure all work at all sizes, and judge; `say` gets a line for each step.

    Raises:
        SetupError: something is missing that the caller can mend.
        StackError, ChildError: a server can't be started.
        Halted: somebody wants it to stop.
    """
    contenders.require_extra()
    options = replace(options, workers=options.workers or cores())
    course = Course(load.choose(options.generator), options.seconds, options.connections)
    with ExitStack() as exits:
        exits.enter_context(ctrl_c_noted())
        runner = exits.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        exits.callback(engine.use, None)
        sizes = [_size(name, options, runner, exits, say) for name in options.sizes]
        over_http = [work for work in options.work if work in api.FLOORS]
        for size in sizes if over_http else ():
            say(course.meet(size.contender, size.traffic[over_http[0]], options.workers))
        measurements = list(_measured(sizes, options, course, runner, say))
    points = points_of(measurements, {name: SCALES[name] for name in options.sizes})
    return Judged(
        machine=facts.machine(),
        commit=facts.commit(),
        command=facts.command(),
        rows=points,
        verdicts=verdicts_of(measurements, points),
        detail={
            "workers": options.workers,
            "callers": CALLERS,
            "connections": options.connections,
            "seconds": options.seconds,
            "runs": options.runs,
            "generator": course.generator.name,
            "measurements": msgspec.to_builtins(measurements),
        },
    )


def _size(
    name: str,
    options: Options,
    runner: asyncio.Runner,
    exits: ExitStack,
    say: Callable[[str], None],
) -> Size:
    """Start one, seeded, and look at what there is to ask about."""
    from mercenary.bench import database_work  # needs the extra

    say(f"Starting a private stack with {name} projects …")
    within = _START_SECONDS + _SEEDING_SECONDS * SCALES[name]
    stack = contenders.private_stack(name, options.workers, ready_within=within)
    place = exits.enter_context(stack)
    market = explore(place.product.target, place.product.callers.everybody)
    asks = api.Asks(market, zipf.draw(market.projects, api.DRAWN_IDS))
    asks.try_out(place.product)
    database, extent = runner.run(_opened(place.database_uri or ""))
    exits.callback(lambda: runner.run(database.close()))
    return Size(
        contender=replace(place.product, name=name),
        traffic=asks.rows(place.product),
        database=database,
        operations=database_work.ours(extent, Random(1)),  # noqa: S311 - a workload, no secret
    )


async def _opened(uri: str) -> tuple[engine.Database, "Extent"]:
    from mercenary.bench import database_work

    database = engine.Database(Settings(), uri)
    async with database.connecting() as connection:
        return database, await database_work.extent_of(connection)


def _measured(
    sizes: Sequence[Size],
    options: Options,
    course: Course,
    runner: asyncio.Runner,
    say: Callable[[str], None],
) -> Iterator[Measurement]:
    """The sizes in turn, and each run begins with another one."""
    for run in range(options.runs):
        first = run % len(sizes)
        for work in options.work:
            for size in (*sizes[first:], *sizes[:first]):
                if interrupted():
                    raise Halted
                if work in api.FLOORS:
                    one = course.measure(size.contender, size.traffic[work], work, run)
                else:
                    one = runner.run(_asked(size, work, run, options.seconds))
                say(
                    f"{run + 1}/{options.runs} {work} at {one.contender}: {one.rate:,.0f}/s, "
                    f"p95 {one.p95_ms:.1f} ms, {one.error_count} errors"
                )
                yield one


async def _asked(size: Size, work: str, run: int, seconds: int) -> Measurement:
    engine.use(size.database)
    return await timed(
        (work, size.contender.name, run),
        size.operations[work],
        callers=CALLERS,
        seconds=seconds,
        database_pid=size.contender.database_pid,
    )
