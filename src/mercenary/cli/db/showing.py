"""What the commands of `mercenary db` share: a connection for one question, and how to answer.

A command asks a question of `db/inspection` and shows the structs it gets: as tables, or as JSON.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.cli.failures import CommandError
from mercenary.database_settings import EngineOptions
from mercenary.db.engine import Database
from mercenary.db.faults import as_problem
from mercenary.errors import ProblemError
from mercenary.local.state import effective
from mercenary.settings import load

Answer = TypeVar("Answer")

QUESTION_SECONDS = 60.0
as_json_option = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")


def ask(
    question: Callable[[AsyncConnection], Awaitable[Answer]],
    *,
    seconds: float = QUESTION_SECONDS,
    uri: str | None = None,
) -> Answer:
    """Ask a database within so many seconds: the settings', or that of the stack that runs here.

    Raises `SetupError` when there is none, `CommandError` when it is away.
    """
    loaded = load()
    if uri is None:
        settings = effective(loaded)
    else:
        settings = msgspec.structs.replace(loaded.settings, sqlalchemy_database_uri=uri)

    async def asked() -> Answer:
        few = msgspec.structs.replace(settings, sqlalchemy_engine_options=EngineOptions(1, 0))
        database = Database(few, settings.sqlalchemy_database_uri or "")
        try:
            async with database.taking_time(seconds) as connection:
                return await question(connection)
        finally:
            await database.close()

    try:
        return asyncio.run(asked())
    except Exception as error:
        problem = as_problem(error)
        if isinstance(problem, ProblemError):
            raise CommandError(f"the database can't be asked: {problem}") from error
        raise


def show(answer: Any, picture: Callable[[Any], RenderableType], *, as_json: bool) -> None:
    """Print an answer: structs as JSON, or what `picture` makes of them for people."""
    if as_json:
        click.echo(as_json_text(answer))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(picture(answer))


def as_json_text(answer: Any) -> str:
    """Structs as JSON that people can read, too."""
    return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()


def table_of(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table. A column whose heading begins with `#` holds figures, and stands to the right."""
    table = Table(title=title, title_justify="left")
    for heading in columns:
        figures = heading.startswith("#")
        table.add_column(
            heading.removeprefix("#"), justify="right" if figures else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    return table


def bytes_text(count: float) -> str:
    """A size as people read it: `812 B`, `3.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
