"""`mercenary cache purge`: have every cache forget what is kept under some tags."""

import asyncio
import sys
import time

import click
from msgspec.structs import replace

from mercenary.cache.caches import path_of
from mercenary.cache.clocks import EVERYTHING, Clocks
from mercenary.cli.failures import CommandError
from mercenary.cli.spans import short
from mercenary.database_settings import EngineOptions
from mercenary.db.engine import Database
from mercenary.db.faults import as_problem
from mercenary.db.migrate import pending
from mercenary.errors import ProblemError
from mercenary.local.state import effective
from mercenary.ops.purging import Tags, UnknownTag, is_announced, purge
from mercenary.settings import Settings, load

WAIT_SECONDS = 10.0


@click.command()
@click.option("--tag", "tags", multiple=True, help="Such as projects or project:17; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Everything that is kept.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=WAIT_SECONDS,
    show_default=True,
    help="Seconds to wait until everybody has been told.",
)
def command(tags: tuple[str, ...], everything: bool, wait: float) -> None:
    """Forget what is kept under tags: here at once, elsewhere as soon as it is announced.

    A list may be shown for another second, as after any change.

    Every host, Valkey and the CDN are told by way of the outbox, so nothing that breaks meanwhile
    loses a purge. Exit code 0 when it has been announced, 1 when it still waits to be.
    """
    if bool(tags) == everything:
        raise CommandError("say what to forget: give --tag T, once or more often, or --all")
    wanted = [EVERYTHING] if everything else list(dict.fromkeys(tags))
    _check(wanted)
    settings = effective(load())
    sys.exit(asyncio.run(_run(settings, wanted, wait)))


def _check(tags: list[str]) -> None:
    from mercenary.app import ENDPOINTS  # late, so that --help stays quick

    known = Tags(ENDPOINTS)
    for tag in tags:
        try:
            known.check(tag)
        except UnknownTag as error:
            forms = ", ".join(known.forms)
            raise CommandError(
                f"nothing is ever kept under the tag {tag!r}; tags are {forms}"
            ) from error


async def _run(settings: Settings, tags: list[str], wait: float) -> int:
    uri = settings.sqlalchemy_database_uri or ""
    if await pending(uri):
        raise CommandError("the database's schema is not current; run `mercenary migrate` first")
    few = EngineOptions(pool_size=2, max_overflow=1)
    database = Database(replace(settings, sqlalchemy_engine_options=few), uri)
    try:
        clocks = Clocks(path_of(settings, uri), make=False)
    except FileNotFoundError:
        clocks = None
    try:
        return await _purge(database, clocks, tags, wait)
    except Exception as error:
        problem = as_problem(error)
        if not isinstance(problem, ProblemError):
            raise
        raise CommandError(f"{problem.detail or problem.title} Try again later.") from error
    finally:
        if clocks is not None:
            clocks.close()
        await database.close()


async def _purge(database: Database, clocks: Clocks | None, tags: list[str], wait: float) -> int:
    stamp = await purge(database, clocks, tags)
    begun = time.monotonic()
    what = "everything" if tags == [EVERYTHING] else ", ".join(tags)
    click.echo(f"Forgotten on this host: {what}." if clocks else f"To be forgotten: {what}.")
    if await is_announced(database, stamp, seconds=wait):
        cdn = database.settings.cdn
        told = "" if cdn == "none" else f" The CDN ({cdn}) is being told."
        after = short(time.monotonic() - begun)
        click.echo(f"Announced to Valkey's tier and all other hosts after {after}.{told}")
        return 0
    click.echo(
        f"Not announced within {wait:g} s: it waits in the outbox for a relay that reaches Valkey."
        " Until then other hosts give out nothing older than a second.",
        err=True,
    )
    return 1
