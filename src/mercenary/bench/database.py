"""`mercenary bench db`: the guide's figures of the database, through the product's own functions.

One process asks a private PostgreSQL: the product as shipped, and beside it in the same rounds
pgbench, SQLAlchemy Core and SQLAlchemy's ORM, which ask one by one.
"""

import asyncio
import gc
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec
import psutil  # type: ignore[import-untyped]
import uvloop
from sqlalchemy.ext.asyncio import create_async_engine

from mercenary.bench import contenders, facts, pgbench
from mercenary.bench.generator import Outcome, percentile
from mercenary.bench.processes import MIB, usage
from mercenary.bench.report import PRODUCT, Floor, Measurement, Report, judge
from mercenary.db import engine
from mercenary.db.migrate import upgrade
from mercenary.db.uri import asyncpg_url
from mercenary.errors import ProblemError
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.stack import temporary_folder
from mercenary.seeding.seed import seed
from mercenary.settings import Settings

if TYPE_CHECKING:
    from mercenary.bench.database_work import Operation

# The guide, «Benchmarks».
FLOORS: Final[Mapping[str, Floor | None]] = {
    "select-simple": Floor(15_000, 5),
    "select-complex": Floor(2_500, 25),
    "insert": Floor(8_000, 8),
    "update": Floor(6_000, 12),
}
CORE: Final = "sqlalchemy-core"
ORM: Final = "sqlalchemy-orm"
PGBENCH: Final = "pgbench"
# As many connections as callers, all kept: the peers shall not wait for each other.
_PEERS_POOL: Final = 64
_WARM_UP_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Options:
    """`runs` of `seconds` of each row and contender, by `callers` at once."""

    seconds: int = 3
    runs: int = 3
    callers: int = 64
    projects: int = 200_000


def measure(options: Options, say: Callable[[str], None]) -> Report:
    """Measure every row for every contender, and judge; `say` gets a line for each step.

    Raises:
        SetupError: a package that the yardsticks need is missing.
        ChildError: the server can't be started.
    """
    contenders.require_extra()
    with ExitStack() as exits:
        folder = temporary_folder()
        exits.callback(shutil.rmtree, folder)
        postgres = EmbeddedPostgres(folder)
        postgres.start()
        exits.callback(postgres.stop)
        measurements = uvloop.run(_measure(options, postgres, say))
    return Report(
        machine=facts.machine(),
        commit=facts.commit(),
        command=facts.command(),
        rows=judge(measurements, FLOORS),
        detail={
            "conditions": [
                f"Data: {options.projects:,} projects; ids drawn alike",
                f"Load: {options.callers} callers at once in one process; pgbench -M prepared "
                f"-c {pgbench.CONNECTIONS} -j {pgbench.THREADS}; runs of {options.seconds} s, "
                "contenders in turn; medians",
            ],
            "measurements": msgspec.to_builtins(measurements),
        },
    )


async def _measure(
    options: Options, postgres: EmbeddedPostgres, say: Callable[[str], None]
) -> list[Measurement]:
    from mercenary.bench import database_work  # needs the extra

    settings = Settings()
    say(f"Seeding {options.projects:,} projects …")
    await upgrade(postgres.uri)
    await seed(postgres.uri, settings, projects=options.projects, seed=1, with_demo=False)
    async with AsyncExitStack() as exits:
        database = engine.Database(settings, postgres.uri)
        engine.use(database)
        exits.callback(engine.use, None)
        exits.push_async_callback(database.close)
        peers = create_async_engine(asyncpg_url(postgres.uri), pool_size=_PEERS_POOL)
        exits.push_async_callback(peers.dispose)
        async with peers.connect() as db:
            extent = await database_work.extent_of(db)
        bench = _Bench(options, postgres, database_work.scripts(extent))
        work = {
            PRODUCT: database_work.ours(extent, bench.source),
            CORE: database_work.by_core(peers, extent, bench.source),
            ORM: database_work.by_orm(peers, extent, bench.source),
        }
        measurements = []
        for run, row in bench.course():
            for contender, operations in work.items():
                one = await bench.asked(row, contender, run, operations[row])
                measurements.append(one)
                say(_line(one, options.runs))
                if contender == PRODUCT:  # beside it, as its nearest neighbour in time
                    measurements.append(await bench.pgbench(row, run))
                    say(_line(measurements[-1], options.runs))
        return measurements


class _Bench:
    """What every run needs."""

    def __init__(
        self, options: Options, postgres: EmbeddedPostgres, scripts: Mapping[str, str]
    ) -> None:
        self.options = options
        self.postgres = postgres
        self.source = Random(1)  # noqa: S311 - a workload, no secret
        self.scripts = scripts

    def course(self) -> Iterator[tuple[int, str]]:
        return ((run, row) for run in range(self.options.runs) for row in FLOORS)

    async def asked(self, row: str, contender: str, run: int, ask: "Operation") -> Measurement:
        """One run in this process."""
        return await timed(
            (row, contender, run),
            ask,
            callers=self.options.callers,
            seconds=self.options.seconds,
            database_pid=self.postgres.child.pid,
        )

    async def pgbench(self, row: str, run: int) -> Measurement:
        """One run of pgbench."""
        pid = self.postgres.child.pid
        before = usage(pid).cpu_seconds
        outcome, used = await asyncio.to_thread(
            pgbench.run, self.postgres, self.scripts[row], self.options.seconds
        )
        return _measurement(
            (row, PGBENCH, run), outcome, used, usage(pid).cpu_seconds - before, None
        )


async def timed(
    named: tuple[str, str, int],
    ask: "Operation",
    *,
    callers: int,
    seconds: float,
    database_pid: int | None,
) -> Measurement:
    """One run in this process, after a second that doesn't count.

    `named` is its row, contender and number.
    """
    await _load(ask, callers, _WARM_UP_SECONDS)
    gc.collect()
    before, used = usage(database_pid).cpu_seconds, time.process_time()
    outcome = await _load(ask, callers, seconds)
    used = time.process_time() - used
    after, own = usage(database_pid).cpu_seconds, psutil.Process().memory_info().rss / MIB
    return _measurement(named, outcome, used, after - before, own)


async def _load(ask: "Operation", callers: int, seconds: float) -> Outcome:
    """Keep so many callers asking, each again as soon as it is answered."""
    taken: list[float] = []
    errors: dict[str, int] = {}
    clock = time.perf_counter
    began = clock()
    end = began + seconds

    async def keep_asking() -> None:
        before = clock()
        while before < end:
            try:
                await ask()
            except ProblemError as problem:
                name = type(problem).__name__
                errors[name] = errors.get(name, 0) + 1
            now = clock()
            taken.append(now - before)
            before = now

    await asyncio.gather(*(keep_asking() for _ in range(callers)))
    passed = clock() - began
    taken.sort()
    p50, p95, p99 = (round(percentile(taken, share) * 1000, 3) for share in (0.5, 0.95, 0.99))
    return Outcome(len(taken), passed, p50, p95, p99, errors)


def _measurement(
    named: tuple[str, str, int], outcome: Outcome, used: float, database: float, rss: float | None
) -> Measurement:
    row, contender, run = named
    good = outcome.requests - sum(outcome.errors.values())
    return Measurement(
        row=row,
        contender=contender,
        run=run,
        rate=round(good / outcome.seconds, 1),
        requests=outcome.requests,
        p50_ms=outcome.p50_ms,
        p95_ms=outcome.p95_ms,
        p99_ms=outcome.p99_ms,
        errors=outcome.errors,
        server_cpu_s=round(used, 3),
        database_cpu_s=round(database, 3),
        rss_mib=None if rss is None else round(rss, 1),
        generator_cpu_s=0.0,
        busy=0.0,
    )


def _line(one: Measurement, runs: int) -> str:
    return (
        f"{one.run + 1}/{runs} {one.row} {one.contender}: {one.rate:,.0f}/s, "
        f"p95 {one.p95_ms:.1f} ms, {one.error_count} errors"
    )
