"""`mercenary bench counts`: what totals and facets of lists cost, counted and kept.

Measured from the ask to the answer, through the product's own batches and caches, one count after
the other. The caches are a worker's own, in front of a private Valkey that no relay knows, so that
only memory answers.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from mercenary.bench.lists import most_frequent
from mercenary.cache import caches, valkey
from mercenary.db import engine
from mercenary.db.counts import CountAsk
from mercenary.db.listing import Listing
from mercenary.db.page_statements import Filters
from mercenary.local.stack import Stack, temporary_folder
from mercenary.local.valkey import EmbeddedValkey
from mercenary.projects.service import project_list
from mercenary.settings import CacheConfig, CacheSection, Settings
from mercenary.settings import load as load_settings
from mercenary.users.service import public_list

MOST_KEPT_MICROSECONDS: Final = 1_000.0
"""What a kept count may take; one that is counted has the statement's timeout."""
_READY_SECONDS: Final = 900.0
_STATEMENT_SECONDS: Final = 60.0
_HITS: Final = 1_000


@dataclass(frozen=True)
class Options:
    """How many times each is counted. `database` is a seeded one, if any."""

    runs: int = 5
    scale: str = "1M"
    database: str | None = None


class Row(NamedTuple):
    """One list: the seconds that a total and its facets took, each time, and from memory."""

    name: str
    total: Sequence[float]
    facets: Sequence[float]
    kept_total: float
    kept_facets: float


def measure(options: Options, say: Callable[[str], None]) -> list[Row]:
    """Measure the lists of projects and of users by filters that find much and little.

    Raises:
        StackError, ChildError: the private servers can't be started.
    """
    with ExitStack() as exits:
        uri = options.database
        if uri is None:
            say(f"Starting a private stack with {options.scale} projects …")
            stack = Stack(workers=1, seed=options.scale, ready_within=_READY_SECONDS)
            uri = exits.enter_context(stack).database_uri
        folder = temporary_folder()
        exits.callback(shutil.rmtree, folder)
        server = EmbeddedValkey(folder)
        server.start()
        exits.callback(server.stop)
        section = CacheSection(cache_redis_url=server.url())
        settings = replace(
            load_settings().settings,
            statement_timeout=_STATEMENT_SECONDS,
            request_deadline=_STATEMENT_SECONDS,
            cache_config=CacheConfig(default=section),
            shared_memory=folder / "clocks",
        )
        return asyncio.run(_measure(settings, uri, options.runs, say))


def met(rows: Sequence[Row]) -> bool:
    """Whether each was counted within the timeout as shipped, and given from memory at once."""
    longest = max(max(*row.total, *row.facets) for row in rows)
    kept = max(max(row.kept_total, row.kept_facets) for row in rows)
    return longest < Settings().statement_timeout and kept * 1e6 <= MOST_KEPT_MICROSECONDS


def as_markdown(rows: Sequence[Row]) -> str:
    """A table for docs/figures.md."""
    lines = [
        "| list | total, ms (min to max) | facets, ms (min to max) | kept total / facets, µs |",
        "|---|---:|---:|---:|",
    ]
    for row in rows:
        kept = f"{row.kept_total * 1e6:.1f} / {row.kept_facets * 1e6:.1f}"
        lines.append(f"| `{row.name}` | {_spread(row.total)} | {_spread(row.facets)} | {kept} |")
    return "\n".join(lines)


async def _measure(
    settings: Settings, uri: str, runs: int, say: Callable[[str], None]
) -> list[Row]:
    async with _opened(settings, uri):
        rows = []
        async for name, listing, filters in _lists():
            say(f"{name} …")
            rows.append(await _row(name, listing, filters, runs))
        return rows


@asynccontextmanager
async def _opened(settings: Settings, uri: str) -> AsyncIterator[None]:
    """What a worker has: a database, a Valkey, and the caches in front of them."""
    database = engine.Database(settings, uri)
    engine.use(database)
    cache = valkey.Valkey(
        settings.cache_config.default.cache_redis_url, seconds=settings.valkey_timeout
    )
    valkey.use(cache)
    kept = caches.Caches(settings, uri, database.counts)
    kept.start()
    caches.use(kept)
    try:
        yield
    finally:
        caches.use(None)
        await kept.close()
        valkey.use(None)
        await cache.close()
        engine.use(None)
        await database.close()


async def _lists() -> AsyncIterator[tuple[str, Listing[Any], Filters]]:
    """As a guest sees them."""
    published, active = ("published", None), ("active", None)
    skill_id = await most_frequent("skill_id", "project_skills")
    client_id = await most_frequent("client_id", "projects")
    budget = Decimal("800.00")
    yield "/projects", project_list, (published,)
    yield "/projects?status=open", project_list, (published, ("status", "open"))
    yield "/projects?min_budget=800", project_list, (("min_budget", budget), published)
    yield "/projects?skill=, the most wanted", project_list, (published, ("skill__0", skill_id))
    yield "/projects?client_id=, the largest", project_list, (("client_id", client_id), published)
    yield "/projects?q=work", project_list, (published, ("q", "work"))
    yield "/projects?q=zebra", project_list, (published, ("q", "zebra"))
    yield "/users", public_list, (active,)
    yield "/users?role=freelancer", public_list, (active, ("role", "freelancer"))


async def _row(name: str, listing: Listing[Any], filters: Filters, runs: int) -> Row:
    total, facets = [], []
    for _ in range(runs):
        total.append(await _seconds(lambda: listing.count(CountAsk(filters))))
        facets.append(await _seconds(lambda: listing.count(CountAsk(filters, by_value=True))))
    return Row(
        name,
        total,
        facets,
        await _kept(lambda: listing.total(filters)),
        await _kept(lambda: listing.facets(filters)),
    )


async def _kept(ask: Callable[[], Awaitable[Any]]) -> float:
    """Seconds of one that is kept, while the relay's word is new: the median of many."""
    seconds = []
    for _ in range(_HITS + 1):
        caches.current().clocks.hear(time.monotonic())
        seconds.append(await _seconds(ask))
    return median(seconds)


async def _seconds(ask: Callable[[], Awaitable[Any]]) -> float:
    begun = time.perf_counter()
    await ask()
    return time.perf_counter() - begun


def _spread(seconds: Sequence[float]) -> str:
    times = [each * 1000 for each in seconds]
    return f"{median(times):.0f} ({min(times):.0f} to {max(times):.0f})"
