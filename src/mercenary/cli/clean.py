"""`mercenary clean`: remove what is over, once or again and again.

`mercenary up` runs it beside the API. Elsewhere it is a cron job, or a process of its own; of
several only one works at a time.
"""

import asyncio
import signal

import click
import structlog

from mercenary import housekeeping
from mercenary.cli.failures import CommandError
from mercenary.db import engine
from mercenary.db.cleaning import Cleaned, clean
from mercenary.db.migrate import pending
from mercenary.errors import ProblemError
from mercenary.local.state import effective
from mercenary.settings import Settings, load
from mercenary.telemetry import logs

log = structlog.get_logger()


@click.command()
@click.option(
    "--every", type=click.FloatRange(min=0.1), help="Go on, with so many seconds in between."
)
def command(every: float | None) -> None:
    """Remove what is over: sessions, idempotency keys, accounts closed 30 days ago.

    In small transactions, so that it can run at any hour. Exit code 0 when all is clean or another
    cleaner is at work, 2 when nothing can be done.
    """
    settings = effective(load())
    logs.configure(settings.log_level)
    asyncio.run(_run(settings, every))


async def _run(settings: Settings, every: float | None) -> None:
    uri = settings.sqlalchemy_database_uri or ""
    if await pending(uri):
        raise CommandError("the database's schema is not current; run `mercenary migrate` first")
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    database = engine.Database(settings, uri)
    engine.use(database)
    try:
        if every is None:
            click.echo(_told(await _clean(database, stopping)))
        else:
            await _go_on(database, stopping, every)
    except ProblemError as problem:
        raise CommandError(f"{problem.detail or problem.title} Try again later.") from problem
    finally:
        engine.use(None)
        await database.close()


async def _go_on(database: engine.Database, stopping: asyncio.Event, every: float) -> None:
    while not stopping.is_set():
        try:
            cleaned = await _clean(database, stopping)
        except ProblemError as problem:  # the database is away or slow; it will be back
            log.warning("could not clean", problem=problem.slug, cause=repr(problem.__cause__))
        else:
            if any(cleaned.rows.values()) or cleaned.postponed:
                log.info("cleaned", rows=cleaned.rows, postponed=cleaned.postponed)
        try:
            async with asyncio.timeout(every):
                await stopping.wait()
        except TimeoutError:
            continue


async def _clean(database: engine.Database, stopping: asyncio.Event) -> Cleaned:
    settings = database.settings
    return await clean(
        database,
        housekeeping.CHORES,
        rows=settings.clean_rows,
        pause=settings.clean_pause,
        stopping=stopping,
    )


def _told(cleaned: Cleaned) -> str:
    if cleaned.turned_away:
        return "Another cleaner is at work."
    done = ", ".join(f"{name} {rows:,}" for name, rows in cleaned.rows.items())
    waits = f" In use by others, left for next time: {', '.join(cleaned.postponed)}."
    return f"Rows dealt with: {done}." + (waits if cleaned.postponed else "")
