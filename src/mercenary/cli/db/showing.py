"""What the commands of `mercenary db` share: a connection for one question, and how to answer.

A command asks a question of `db/inspection` and shows the structs it gets: as tables, or as JSON.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.cli.failures import CommandError
from mercenary.database_settings import EngineOptions
from mercenary.db.engine import Database
from mercenary.db.faults import as_problem, sqlstate
from mercenary.errors import ProblemError
from mercenary.local.state import effective
from mercenary.settings import load

Answer = TypeVar("Answer")

QUESTION_SECONDS = 60.0
MOST_OF_A_TEXT = 300
_NOT_ALLOWED = "42501"
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

    with faults_told():
        return asyncio.run(asked())


@contextmanager
def faults_told() -> Iterator[None]:
    """Say in a line what hinders a question that can be mended: a database that is away, or busy,
    or doesn't allow it to the role.

    Raises:
        CommandError: any of these.
    """
    try:
        yield
    except Exception as error:
        problem = as_problem(error)
        if isinstance(problem, ProblemError):
            raise CommandError(f"the database can't be asked: {problem}") from error
        if isinstance(error, DBAPIError) and sqlstate(error) == _NOT_ALLOWED:
            raise CommandError(
                f"the database's role may not do that: {reason_of(error)}"
            ) from error
        raise


def reason_of(error: DBAPIError) -> str:
    """What PostgreSQL said, without the names of the driver's classes."""
    return str(error.orig).splitlines()[0].split(">: ")[-1]


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


def entries_of(
    title: str, columns: Sequence[str], rows: Iterable[tuple[Sequence[str], str]]
) -> RenderableType:
    """A table whose rows each have a text below them, which takes the whole width.

    Its columns are as those of `table_of`; of a long text the beginning is shown.
    """
    headings = [Text(each.removeprefix("#"), style="bold") for each in columns]
    lines = [([Text.from_markup(cell) for cell in cells], below) for cells, below in rows]
    table = [headings, *(cells for cells, _ in lines)]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    shown: list[RenderableType] = [Text(title, style="italic"), _aligned(headings, columns, widths)]
    for cells, below in lines:
        shown.append(_aligned(cells, columns, widths))
        shown.append(Padding(Text(_beginning(below), style="dim"), (0, 0, 0, 2)))
    return Group(*shown)


def _aligned(cells: Sequence[Text], columns: Sequence[str], widths: Sequence[int]) -> Text:
    for cell, column, width in zip(cells, columns, widths, strict=True):
        cell.align("right" if column.startswith("#") else "left", width)
    return Text("  ").join(cells)


def _width(cell: Text) -> int:
    return cell.cell_len


def _beginning(text: str) -> str:
    return text if len(text) <= MOST_OF_A_TEXT else f"{text[:MOST_OF_A_TEXT]}…"


def share_text(share: float | None) -> str:
    """A part of the whole, 0 to 1, as people read it; a dash where there is no whole."""
    return "-" if share is None else f"{share:.1%}"


def bytes_text(count: float) -> str:
    """A size as people read it: `812 B`, `3.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
