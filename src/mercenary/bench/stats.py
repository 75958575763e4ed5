"""`mercenary bench stats`: how long a refresh of the statistics takes, and what its readers notice.

Both answers of `/stats` are read one after the other, through the product's own batches and
queries, as fast as one reader can: first alone, then for as long as a refresh takes. What is kept
in caches isn't asked: it would hide the database.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import msgspec

from mercenary.bench import facts
from mercenary.bench.generator import percentile
from mercenary.bench.report import PRODUCT, Floor, Measurement, Report, Row, judge
from mercenary.db import engine
from mercenary.local.stack import Stack
from mercenary.settings import SetupError
from mercenary.settings import load as load_settings
from mercenary.stats import service
from mercenary.stats.schemas import MarketplaceQuery, SkillStatsQuery

ALONE: Final = "alone"
MOST: Final = 3.0
"""How many times as long as alone a read may take beside a refresh, which has a core of two."""
READS: Final[dict[str, Callable[[], Awaitable[object]]]] = {
    "stats/skills, 20 of them": lambda: service.list_skills(SkillStatsQuery()),
    "stats/marketplace, 30 days": lambda: service.show_marketplace(MarketplaceQuery()),
}
_READY_SECONDS: Final = 900.0


@dataclass(frozen=True)
class Options:
    """`runs` refreshes, each behind `asks` reads of each kind alone. `database` is a seeded one."""

    runs: int = 3
    asks: int = 300
    scale: str = "1M"
    database: str | None = None


def measure(options: Options, say: Callable[[str], None]) -> Report:
    """Measure, and judge; `say` gets a line for each step.

    Raises:
        StackError, ChildError: the private stack can't be started.
    """
    # It would refresh beside us.
    quiet = {"MERCENARY_STATS_EVERY": "31536000", "MERCENARY_STATS_CHANGES": "1000000"}
    with ExitStack() as exits:
        uri = options.database
        if uri is None:
            say(f"Starting a private stack with {options.scale} projects …")
            stack = Stack(
                workers=1, environment=quiet, seed=options.scale, ready_within=_READY_SECONDS
            )
            uri = exits.enter_context(stack).database_uri
        refreshes, measurements = asyncio.run(_measure(options, uri, say))
    return Report(
        machine=facts.machine(),
        commit=facts.commit(),
        command=facts.command(),
        rows=judge(measurements, {name: _floor(name, measurements) for name in READS}),
        detail={
            "scale": options.scale if options.database is None else None,
            "refresh_seconds": [round(seconds, 2) for seconds in refreshes],
            "measurements": msgspec.to_builtins(measurements),
        },
    )


def lines(report: Report) -> list[str]:
    """A report for people: how long a refresh took, and a line for each read."""
    taken = report.detail["refresh_seconds"]
    refresh = f"a refresh: {median(taken):.1f} s ({min(taken):.1f} to {max(taken):.1f})"
    return [refresh, *(_line(row, report.detail["measurements"]) for row in report.rows)]


async def _measure(
    options: Options, uri: str, say: Callable[[str], None]
) -> tuple[list[float], list[Measurement]]:
    database = engine.Database(load_settings().settings, uri)
    engine.use(database)
    refreshes: list[float] = []
    measurements: list[Measurement] = []
    try:
        for run in range(options.runs):
            say(f"Run {run + 1} of {options.runs}: readers alone …")
            alone = [await _read_once() for _ in range(options.asks)]
            say(f"Run {run + 1} of {options.runs}: readers beside a refresh …")
            beside, begun = [], time.perf_counter()
            refresh = asyncio.create_task(service.refresh(database))
            while not refresh.done():
                beside.append(await _read_once())
            if not await refresh:
                raise SetupError("somebody else refreshes this database; give one left alone")
            refreshes.append(time.perf_counter() - begun)
            for contender, reads in ((PRODUCT, beside), (ALONE, alone)):
                for name in READS:
                    taken = [each[name] for each in reads]
                    measurements.append(_measurement(name, contender, run, taken))
    finally:
        engine.use(None)
        await database.close()
    return refreshes, measurements


async def _read_once() -> dict[str, float]:
    """How many seconds each read took."""
    seconds = {}
    for name, read in READS.items():
        begun = time.perf_counter()
        await read()
        seconds[name] = time.perf_counter() - begun
    return seconds


def _measurement(row: str, contender: str, run: int, seconds: Sequence[float]) -> Measurement:
    ordered = sorted(seconds)
    p50, p95, p99 = (percentile(ordered, share) * 1000 for share in (0.50, 0.95, 0.99))
    return Measurement(
        row=row,
        contender=contender,
        run=run,
        rate=round(len(seconds) / sum(seconds), 1),
        requests=len(seconds),
        p50_ms=round(p50, 3),
        p95_ms=round(p95, 3),
        p99_ms=round(p99, 3),
        errors={},
        server_cpu_s=None,
        database_cpu_s=None,
        rss_mib=None,
        generator_cpu_s=0.0,
        busy=0.0,
    )


def _floor(name: str, measurements: Sequence[Measurement]) -> Floor:
    """What readers do alone, and so many times as slow."""
    alone = [one for one in measurements if (one.row, one.contender) == (name, ALONE)]
    rate, p95 = median(one.rate for one in alone), median(one.p95_ms for one in alone)
    return Floor(round(rate / MOST, 1), round(p95 * MOST, 3))


def _line(row: Row, runs: Sequence[Mapping[str, Any]]) -> str:
    p50, p95 = (
        median(one[key] for one in runs if (one["row"], one["contender"]) == (row.name, ALONE))
        for key in ("p50_ms", "p95_ms")
    )
    return (
        f"{'met   ' if row.met else 'MISSED'}  {row.name}: beside it p50 {row.p50_ms:.2f}, "
        f"p95 {row.p95_ms:.2f}, p99 {row.p99_ms:.2f} ms; alone p50 {p50:.2f}, p95 {p95:.2f} ms"
    )
