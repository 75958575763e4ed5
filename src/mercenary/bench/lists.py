"""`mercenary bench lists`: page 10,000 by cursor beside page 1, for every list and sort.

Measured is what a page costs from the ask to the items, through the product's own batches and
queries, one page after the other. HTTP would add the same to both, and so hide a difference.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace
from sqlalchemy import text

from mercenary.bench import facts
from mercenary.bench.generator import percentile
from mercenary.bench.report import PRODUCT, Floor, Measurement, Report, Row, Verdict, judge
from mercenary.db import engine
from mercenary.db.counts import CountAsk
from mercenary.db.listing import Listing
from mercenary.db.page_statements import Filters
from mercenary.db.pages import End, PageAsk
from mercenary.local.stack import Stack
from mercenary.projects.service import project_list
from mercenary.proposals.service import proposal_list
from mercenary.settings import SetupError
from mercenary.settings import load as load_settings
from mercenary.skills.service import skill_list
from mercenary.users.service import public_list

FIRST: Final = "page-1"
DEEP_ROW: Final = 200_000
"""Where page 10,000 begins, at 20 items a page; a shorter list is measured near its end."""
LIMIT: Final = 20
MOST: Final = 1.2
"""How many times as long as page 1 the deep page may take."""
_READY_SECONDS: Final = 900.0
# Finding the longest lists and their deep rows takes a second or two.
_STATEMENT_SECONDS: Final = 60.0
# They end early: what they find is ranked.
_OF_SEARCHES: Final = ("-relevance", "-rank")


@dataclass(frozen=True)
class Options:
    """`asks` pages of each kind in each of `runs` runs. `database` is a seeded one, if any."""

    runs: int = 15
    asks: int = 20
    scale: str = "1M"
    database: str | None = None


class Measured(NamedTuple):
    """One list by one sort, and the row of it that the deep page begins at."""

    name: str
    listing: Listing[Any]
    first: PageAsk
    deep: PageAsk
    row: int


def measure(options: Options, say: Callable[[str], None]) -> Report:
    """Measure every list by every sort, and judge; `say` gets a line for each step.

    Raises:
        SetupError: the database has nothing to list.
        StackError, ChildError: the private stack can't be started.
    """
    with ExitStack() as exits:
        uri = options.database
        if uri is None:
            say(f"Starting a private stack with {options.scale} projects …")
            stack = Stack(workers=1, seed=options.scale, ready_within=_READY_SECONDS)
            uri = exits.enter_context(stack).database_uri
        measured, measurements = asyncio.run(_measure(options, uri, say))
    floors = {each.name: _floor(each.name, measurements) for each in measured}
    return Report(
        machine=facts.machine(),
        commit=facts.commit(),
        command=facts.command(),
        rows=[_judged(row, floors[row.name]) for row in judge(measurements, floors)],
        detail={
            "scale": options.scale if options.database is None else None,
            "limit": LIMIT,
            "asks": options.asks,
            "rows": {each.name: each.row for each in measured},
            "measurements": msgspec.to_builtins(measurements),
        },
    )


def lines(report: Report) -> list[str]:
    """A report for people: a line for each list and sort."""
    runs = msgspec.convert(report.detail["measurements"], list[Measurement])
    return [_line(row, report.detail["rows"][row.name], runs) for row in report.rows]


async def _measure(
    options: Options, uri: str, say: Callable[[str], None]
) -> tuple[list[Measured], list[Measurement]]:
    patient = replace(load_settings().settings, statement_timeout=_STATEMENT_SECONDS)
    database = engine.Database(patient, uri)
    engine.use(database)
    try:
        say("Finding the deep pages …")
        measured = [each async for each in _measured()]
        if not measured:
            raise SetupError("there are no lists of two pages here; `mercenary seed` fills it")
        for each in measured:  # until all is prepared, planned and in memory
            await _timed(each, options.asks)
        measurements = []
        for run in range(options.runs):
            say(f"Run {run + 1} of {options.runs} …")
            for each in measured:
                for contender, seconds in (await _timed(each, options.asks)).items():
                    measurements.append(_measurement(each.name, contender, run, seconds))
    finally:
        engine.use(None)
        await database.close()
    return measured, measurements


async def _measured() -> AsyncIterator[Measured]:
    async for name, listing, filters in _lists():
        total = (await listing.count(CountAsk(filters))).total
        row = min(DEEP_ROW, total - LIMIT - 1)
        if row < LIMIT:
            continue
        for sort in listing.query.sorts:
            if sort in _OF_SEARCHES:
                continue
            first = PageAsk(filters, sort, None, LIMIT)
            deep = replace(first, after=await _end_at(listing, first, row))
            yield Measured(f"{name} {sort}", listing, first, deep, row)


async def _lists() -> AsyncIterator[tuple[str, Listing[Any], Filters]]:
    """The lists as a guest sees them, and the longest ones of those that belong to somebody."""
    published, active = ("published", None), ("active", None)
    yield "projects", project_list, (published,)
    yield "projects?status=open", project_list, (published, ("status", "open"))
    client_id = await most_frequent("client_id", "projects")
    yield "projects?client_id=", project_list, (("client_id", client_id), published)
    yield "users", public_list, (active,)
    yield "users?role=freelancer", public_list, (active, ("role", "freelancer"))
    yield "skills", skill_list, ()
    freelancer_id = await most_frequent("freelancer_id", "proposals")
    yield "users/me/proposals", proposal_list, (("freelancer_id", freelancer_id),)
    project_id = await most_frequent("project_id", "proposals")
    yield "projects/{id}/proposals", proposal_list, (("project_id", project_id),)


async def most_frequent(column: str, table: str) -> int:
    """Whom most rows of a table belong to; 0, who is nobody, where it is empty."""
    statement = f"SELECT {column} FROM {table} GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"  # noqa: S608
    async with engine.current().connecting() as connection:
        return (await connection.execute(text(statement))).scalar() or 0


async def _end_at(listing: Listing[Any], first: PageAsk, row: int) -> End | None:
    """Where a page would have ended whose last item is this row, counted from 1."""
    found = await listing.page(replace(first, limit=1, skipped=row - 1))
    return None if found is None else found.end


async def _timed(measured: Measured, asks: int) -> dict[str, list[float]]:
    """How many seconds each of the two pages took, each time, in turn."""
    pages = {PRODUCT: measured.deep, FIRST: measured.first}
    seconds: dict[str, list[float]] = {contender: [] for contender in pages}
    for _ in range(asks):
        for contender, ask in pages.items():
            begun = time.perf_counter()
            found = await measured.listing.page(ask)
            seconds[contender].append(time.perf_counter() - begun)
            if found is None or len(found.items) != LIMIT:
                raise SetupError("somebody else changes this database; give one that is left alone")
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
    """What page 1 did, as much slower as the deep page may be."""
    first = [one for one in measurements if (one.row, one.contender) == (name, FIRST)]
    rate, p95 = median(one.rate for one in first), median(one.p95_ms for one in first)
    return Floor(round(rate / MOST, 1), round(p95 * MOST, 3))


def _judged(row: Row, floor: Floor) -> Row:
    """By the ratio of the runs, each of whose two figures were measured together."""
    met = row.yardsticks[FIRST] >= 1 / MOST
    return replace(row, guide=Verdict(floor.rate, floor.p95_ms, met))


def _line(row: Row, place: int, runs: Sequence[Measurement]) -> str:
    rates = {(one.run, one.contender): one.rate for one in runs if one.row == row.name}
    ratios = [
        rates[run, FIRST] / rate for (run, contender), rate in rates.items() if contender == PRODUCT
    ]
    first = median(rate for (_, contender), rate in rates.items() if contender == FIRST)
    return (
        f"{'met   ' if row.met else 'MISSED'}  {row.name}: row {place:,} in "
        f"{1000 / row.rate:.2f} ms, page 1 in {1000 / first:.2f} ms: "
        f"{1 / row.yardsticks[FIRST]:.2f} times ({min(ratios):.2f} to {max(ratios):.2f})"
    )
