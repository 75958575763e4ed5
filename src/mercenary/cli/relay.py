"""`mercenary relay`: hand on what has changed, until it is told to stop.

`mercenary up` runs it beside the API. Elsewhere run at least one for each database, and a second
one on another host to take over from it.
"""

import asyncio
import signal
from collections.abc import Iterable

import click
import uvloop

from mercenary.cache import clocks
from mercenary.cache.announcer import Announcer
from mercenary.cache.valkey import Valkey
from mercenary.cdn.service import Purging
from mercenary.cli.failures import CommandError
from mercenary.db import engine
from mercenary.db.migrate import pending
from mercenary.events.relay import Relay, database_for
from mercenary.events.sinks import Caches, Sink
from mercenary.http.shared_caching import public_kinds
from mercenary.local.state import effective
from mercenary.settings import Settings, load
from mercenary.stats.schedule import Refresher
from mercenary.telemetry import logs


@click.command()
def command() -> None:
    """Hand on what has changed to caches and whoever else must act on it.

    Of several relays one works at a time, and another takes over when it dies. Ends at SIGTERM.
    """
    settings = effective(load())
    logs.configure(settings.log_level)
    uvloop.run(_run(settings))


def sinks_of(valkey: Valkey, *others: Sink) -> list[Sink]:
    """All who are told of changes, in their order.

    The caches come last: while Valkey is away they can't be told, and the others are.
    """
    return [*others, Caches(Announcer(valkey, clocks.current()))]


def purging_of(settings: Settings, uri: str) -> Purging:
    """What tells the CDN, if there is one."""
    public: Iterable[str] = ()
    if settings.cdn != "none":
        from mercenary.app import ENDPOINTS  # all the features: 12 MB

        public = public_kinds(ENDPOINTS)
    return Purging(settings, uri, public)


async def _run(settings: Settings) -> None:
    uri = settings.sqlalchemy_database_uri or ""
    if await pending(uri):
        raise CommandError("the database's schema is not current; run `mercenary migrate` first")
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    database = database_for(settings, uri)
    engine.use(database)
    # Far more than a request may wait: a late announcement is better than another try.
    valkey = Valkey(settings.cache_config.default.cache_redis_url, seconds=settings.relay_turn / 4)
    purging = purging_of(settings, uri)
    try:
        async with Refresher(database) as statistics, asyncio.TaskGroup() as group:
            sinks = sinks_of(valkey, purging, statistics)
            group.create_task(purging.run(stopping))
            group.create_task(Relay(database, sinks).run(stopping))
    finally:
        engine.use(None)
        await purging.close()
        await valkey.close()
        await database.close()
