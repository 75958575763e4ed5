"""`mercenary bench relay`: how fast changes are handed on, and what telling costs a write.

On a private PostgreSQL and Valkey. The relay is the product's own, in this process, and announces
to the real Valkey. A write is a batch of posted projects through the product's own `WriteBatch`,
beside the same batch whose events are thrown away.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from statistics import median
from typing import Final, NamedTuple

import uvloop
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.cache import clocks
from mercenary.cache.announcer import Announcer
from mercenary.cache.valkey import Valkey
from mercenary.db import engine
from mercenary.db.batches import WriteBatch
from mercenary.db.migrate import upgrade
from mercenary.db.outbox import recording
from mercenary.events.relay import Relay, database_for
from mercenary.events.sinks import Caches
from mercenary.http.access import UserId
from mercenary.http.wire import Amount, Currency
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.stack import temporary_folder
from mercenary.local.valkey import EmbeddedValkey
from mercenary.projects import service as projects
from mercenary.projects.schemas import NewProject, Project
from mercenary.settings import Settings

LEAST_ROWS_PER_SECOND: Final = 5000.0
ROWS: Final = 50_000
RUNS: Final = 5
_WRITES_A_RUN: Final = 40
_SIZES: Final = (1, 16, 256)
# Far from a busy machine's hiccups, which are no outage.
_PATIENCE: Final = 10.0
_CLIENT: Final = UserId(1)
_PROJECT: Final = NewProject("Title", "Description", Amount("1500.00"), Currency("USD"))

# As changed projects would: each its own tag, and the list's.
_FILL = text(
    """
    INSERT INTO outbox (id, key, stamp, version, name, subject, tags)
    SELECT nextval('outbox_id_seq'), n, n, 2, 'project.updated', 'project:' || n,
           'project:' || n || ' projects'
    FROM generate_series(1, CAST(:rows AS integer)) n
    """
)
_SIGN_UP = text(
    "INSERT INTO users (id, role, email, name) VALUES (1, 'client', 'a@example.com', 'Ada')"
)


class Write(NamedTuple):
    """Batches of one size: statements and µs a batch, without events and with them."""

    size: int
    statements: tuple[int, int]
    microseconds: tuple[Sequence[float], Sequence[float]]


class Result(NamedTuple):
    """Rows a second of each run, µs of this process a row, and the writes."""

    rates: Sequence[float]
    processor: float
    writes: Sequence[Write]

    @property
    def met(self) -> bool:
        """Whether the median run hands on as many as it should."""
        return median(self.rates) >= LEAST_ROWS_PER_SECOND


def measure(rows: int = ROWS, runs: int = RUNS) -> Result:
    """Let so many rows through a relay, several times, and time writes.

    Raises:
        ChildError: a server doesn't start.
    """
    with ExitStack() as exits:
        folder = temporary_folder()
        exits.callback(shutil.rmtree, folder)
        postgres, valkey = EmbeddedPostgres(folder), EmbeddedValkey(folder)
        for server in (postgres, valkey):
            server.start()
            exits.callback(server.stop)
        return uvloop.run(_measure(postgres.uri, valkey.url(), rows, runs))


def as_markdown(result: Result) -> str:
    """Tables for docs/figures.md."""
    rates = result.rates
    lines = [
        f"The relay hands on {median(rates):,.0f} rows a second "
        f"({min(rates):,.0f} to {max(rates):,.0f}), wanted ≥ {LEAST_ROWS_PER_SECOND:,.0f}; "
        f"{result.processor:.0f} µs of its processor time a row.",
        "",
        "| projects a write | statements, and with events | µs without events | with events |",
        "|---:|---:|---:|---:|",
    ]
    for size, (silent, telling), (without, with_events) in result.writes:
        lines.append(
            f"| {size} | {silent}, {telling} | {_spread(without)} | {_spread(with_events)} |"
        )
    return "\n".join(lines)


async def _measure(uri: str, cache_url: str, rows: int, runs: int) -> Result:
    await upgrade(uri)
    settings = Settings()
    async with AsyncExitStack() as exits:
        database = engine.Database(settings, uri)
        engine.use(database)
        exits.callback(engine.use, None)
        exits.push_async_callback(database.close)
        async with database.connecting() as connection, connection.begin():
            await connection.execute(_SIGN_UP)
        writes = [await _written(database, size, runs * _WRITES_A_RUN) for size in _SIZES]

        valkey = Valkey(cache_url, seconds=_PATIENCE)
        exits.push_async_callback(valkey.close)
        own = database_for(settings, uri)
        exits.push_async_callback(own.close)
        relay = Relay(own, [Caches(Announcer(valkey, clocks.current()))])
        while await relay.turn():  # what the writes have told of
            pass
        rates, used = [], 0.0
        for _ in range(runs):
            async with database.connecting() as connection, connection.begin():
                await connection.execute(_FILL, {"rows": rows})
            used -= time.process_time()
            rates.append(await _rate(relay, rows))
            used += time.process_time()
        return Result(rates, used / (rows * runs) * 1e6, writes)


async def _rate(relay: Relay, rows: int) -> float:
    """Rows a second until all of them are gone."""
    stopping = asyncio.Event()
    before = relay.measures.rows
    begun = time.perf_counter()
    running = asyncio.create_task(relay.run(stopping))
    while relay.measures.rows < before + rows:  # noqa: ASYNC110 - the relay tells nobody else
        await asyncio.sleep(0.001)
    seconds = time.perf_counter() - begun
    stopping.set()
    await running
    return rows / seconds


async def _silently(
    tx: AsyncConnection, asks: Sequence[projects.Posting]
) -> Sequence[Project | Exception]:
    """Post projects, and tell nobody."""
    with recording():
        return await projects.post_projects(tx, asks)


async def _written(database: engine.Database, size: int, writes: int) -> Write:
    """So many batches of one size, in turn without events and with them."""
    posting = projects.Posting(_CLIENT, _PROJECT)
    batches = WriteBatch(_silently), WriteBatch(projects.post_projects)

    async def write(batch: WriteBatch[projects.Posting, Project]) -> None:
        await asyncio.gather(*(batch(posting) for _ in range(size)))

    counts = []
    for batch in batches:
        await write(batch)
        with _counted(database) as statements:
            await write(batch)
        counts.append(len(statements))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(writes):
        for batch, took in zip(batches, times, strict=True):
            took.append(await _microseconds(write(batch)))
    return Write(size, (counts[0], counts[1]), times)


@contextmanager
def _counted(database: engine.Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def record(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    target = database.engine.sync_engine
    event.listen(target, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(target, "before_cursor_execute", record)


async def _microseconds(work: Awaitable[None]) -> float:
    begun = time.perf_counter()
    await work
    return (time.perf_counter() - begun) * 1e6


def _spread(times: Sequence[float]) -> str:
    ordered = sorted(times)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    return f"{median(times):,.0f} ({low:,.0f} to {high:,.0f})"
