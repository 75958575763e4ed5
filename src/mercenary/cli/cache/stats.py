"""`mercenary cache stats`: what the caches of this host's workers have done and hold."""

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.live import Live

from mercenary.cache import counters
from mercenary.cache.caches import path_of
from mercenary.cache.clocks import Clocks
from mercenary.cache.scoreboard import Scoreboard
from mercenary.cli.cache.tables import Shown, hit_ratio, shown
from mercenary.database_settings import EngineOptions
from mercenary.db import outbox
from mercenary.db.engine import Database
from mercenary.db.faults import as_problem
from mercenary.errors import ProblemError
from mercenary.local.state import effective
from mercenary.settings import Settings, load

WATCH_SECONDS = 1.0
NOBODY = "No worker of this host serves that database."


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.option("--watch", is_flag=True, help="Again each second, with what it adds, until Ctrl-C.")
def command(as_json: bool, watch: bool) -> None:
    """Show hits, misses and what is kept, of all workers of this host and of each.

    Totals go on when a worker is replaced. Exit code 0 when a worker runs here, 1 when none does.
    """
    settings = effective(load())
    path = path_of(settings, settings.sqlalchemy_database_uri or "")
    try:
        with _opened(path) as (board, clocks):
            found = asyncio.run(_tell(settings, board, clocks, as_json=as_json, watch=watch))
    except FileNotFoundError:  # nobody has ever counted anything here
        click.echo(_as_text({"workers": []}) if as_json else NOBODY)
        found = False
    except KeyboardInterrupt:
        found = True
    sys.exit(0 if found else 1)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Scoreboard, Clocks]]:
    board = Scoreboard(path, counters.NAMES, make=False)
    clocks = Clocks(path, make=False)
    try:
        yield board, clocks
    finally:
        clocks.close()
        board.close()


async def _tell(
    settings: Settings, board: Scoreboard, clocks: Clocks, *, as_json: bool, watch: bool
) -> bool:
    """Print once, or again and again; whether any worker runs."""
    few = EngineOptions(pool_size=1, max_overflow=1)
    options = msgspec.structs.replace(settings, sqlalchemy_engine_options=few)
    database = Database(options, settings.sqlalchemy_database_uri or "")
    try:
        now = await _look(database, board, clocks)
        if as_json:
            click.echo(_as_text(_described(now), on_one_line=watch))
            while watch:
                await asyncio.sleep(WATCH_SECONDS)
                now = await _look(database, board, clocks)
                click.echo(_as_text(_described(now), on_one_line=True))
        elif not now.board.processes:
            click.echo(NOBODY)
        elif watch:
            await _watch(database, board, clocks, now)
        else:
            _console().print(shown(now, None))
    finally:
        await database.close()
    return bool(now.board.processes)


async def _watch(database: Database, board: Scoreboard, clocks: Clocks, before: Shown) -> None:
    with Live(shown(before, None), console=_console(), auto_refresh=False) as live:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = await _look(database, board, clocks)
            live.update(shown(now, before), refresh=True)
            before = now


async def _look(database: Database, board: Scoreboard, clocks: Clocks) -> Shown:
    heard = clocks.heard
    age = time.monotonic() - heard if heard else None
    backlog: outbox.Backlog | None = None
    try:
        async with database.reading() as connection:
            backlog = await outbox.backlog(connection)
    except Exception as error:
        if not isinstance(as_problem(error), ProblemError):
            raise
    return Shown(time.time(), board.read(), age, backlog)


def _described(now: Shown) -> dict[str, Any]:
    board = now.board
    totals = board.totals
    return {
        "since": board.since,
        "word_age_seconds": now.word_age,
        "outbox": now.backlog,
        "hit_ratio": {each: hit_ratio(totals, each) for each in ("answers", "sessions")},
        "totals": _finite(totals),
        "gone": _finite(board.gone),
        "workers": [
            {
                "pid": each.pid,
                "uptime": now.at - each.started,
                "age_seconds": now.at - each.written,
                "counters": _finite(each.values),
            }
            for each in board.processes
        ],
        "other_versions": board.others,
    }


def _as_text(described: dict[str, Any], *, on_one_line: bool = False) -> str:
    encoded = msgspec.json.encode(described)
    return msgspec.json.format(encoded, indent=-1 if on_one_line else 2).decode()


def _finite(values: Mapping[str, float]) -> dict[str, Any]:
    """Counters as whole numbers. The word's age is the host's, told beside them."""
    return {
        name: round(value, 6) if name.endswith("seconds_total") else int(value)
        for name, value in values.items()
        if name != "word_age_seconds"
    }


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 120)
