"""`mercenary cache warm`: fill Valkey's tier before anybody asks."""

import asyncio
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mercenary.cli.failures import CommandError
from mercenary.cli.spans import short
from mercenary.db.migrate import pending
from mercenary.errors import ProblemError
from mercenary.local.state import effective
from mercenary.settings import Settings, load
from mercenary.telemetry import logs

if TYPE_CHECKING:
    from mercenary.ops.warming import Warmed

MOST = 1_000_000


@click.command()
@click.option(
    "--projects",
    type=click.IntRange(0, MOST),
    default=1000,
    show_default=True,
    help="How many of the newest.",
)
@click.option(
    "--users",
    type=click.IntRange(0, MOST),
    default=1000,
    show_default=True,
    help="How many of the newest.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    default=32,
    show_default=True,
    help="How many answers are made at a time.",
)
def command(projects: int, users: int, concurrency: int) -> None:
    """Fill Valkey's tier: lists, skills, statistics, and the newest projects and users.

    Of lists the first pages, in every order and with every status. What is there already is left
    as it is. Exit code 0 when all of it is there, 1 when some isn't, 2 without a relay.
    """
    settings = effective(load())
    logs.configure(settings.log_level)
    sys.exit(asyncio.run(_run(settings, projects, users, concurrency)))


async def _run(settings: Settings, projects: int, users: int, concurrency: int) -> int:
    # Late, so that --help stays quick: all the features.
    from mercenary.app import ENDPOINTS
    from mercenary.ops.warming import MOST_SKILLS, NoWord, first_pages, warmer

    if await pending(settings.sqlalchemy_database_uri or ""):
        raise CommandError("the database's schema is not current; run `mercenary migrate` first")
    begun = time.monotonic()
    warmed: dict[str, Warmed] = {}
    newest = {"skills": MOST_SKILLS, "projects": projects, "users": users}
    console = Console(width=None if sys.stdout.isatty() else 100)
    try:
        async with warmer(settings, at_once=concurrency) as warming:
            await warming.listen()
            with _progress(console) as progress:
                targets = {"lists": list(first_pages(ENDPOINTS))}
                for kind, most in newest.items():
                    targets[kind] = await warming.resources(kind, most)
                bars = {kind: progress.add_task(kind, total=len(targets[kind])) for kind in targets}
                for kind, bar in bars.items():
                    done = partial(progress.advance, bar)
                    warmed[kind] = await warming.warm(targets[kind], done)
            lost, hears = warming.lost, warming.hears
    except NoWord as error:
        raise CommandError(
            "no relay is heard, and without its word nothing that is put into Valkey counts;"
            " start `mercenary relay` or `mercenary up`, and see that Valkey answers"
        ) from error
    except ProblemError as problem:
        raise CommandError(f"{problem.detail or problem.title} Try again later.") from problem
    console.print(_table(warmed))
    failed = sum(each.failed for each in warmed.values())
    click.echo(f"Done in {short(time.monotonic() - begun)}.")
    if lost or failed or not hears:
        click.echo(_shortfall(failed, lost, hears=hears), err=True)
        return 1
    return 0


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not sys.stdout.isatty(),
        transient=True,
    )


def _table(warmed: dict[str, "Warmed"]) -> Table:
    table = Table("", "filled", "already there", "gone", "failed", "size")
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, each in warmed.items():
        numbers = (each.filled, each.there, each.missing, each.failed)
        table.add_row(kind, *(f"{number:,}" for number in numbers), f"{each.size / 1024:,.0f} KiB")
    return table


def _shortfall(failed: int, lost: int, *, hears: bool) -> str:
    said = []
    if failed:
        said.append(f"{failed:,} answers couldn't be made: the database was away or too slow.")
    if lost:
        said.append(f"{lost:,} answers weren't taken by Valkey.")
    if not hears:
        said.append("The relay isn't heard any more, so what was put into Valkey doesn't count.")
    return " ".join([*said, "Run it again."])
