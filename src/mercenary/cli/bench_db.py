"""`mercenary bench db`: reads and writes of the database, beside pgbench and SQLAlchemy."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from mercenary.bench import database, show
from mercenary.cli.measuring import measured

# Wide enough for the figures where the output isn't a terminal.
_COLUMNS = 180


@click.command()
@click.option(
    "--seconds",
    type=click.IntRange(1, 600),
    default=database.Options.seconds,
    show_default=True,
    help="Of each run.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 100),
    default=database.Options.runs,
    show_default=True,
    help="Medians are shown.",
)
@click.option(
    "--callers",
    type=click.IntRange(1, 4_096),
    default=database.Options.callers,
    show_default=True,
    help="Who ask at once.",
)
@click.option(
    "--projects",
    type=click.IntRange(1_000, 10_000_000),
    default=database.Options.projects,
    show_default=True,
    help="In a private PostgreSQL.",
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result there.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for docs/figures.md.")
def db(*, file: Path | None, markdown: bool, **given: Any) -> None:
    """Measure reading and writing through the product's own query functions, in one process.

    In about four minutes, beside pgbench, SQLAlchemy Core and SQLAlchemy's ORM in the same run.
    """
    options = database.Options(**given)
    report = measured(file, lambda say: database.measure(options, say))
    if markdown:
        click.echo(show.as_markdown(report))
    else:
        show.on_terminal(report, Console(width=None if sys.stdout.isatty() else _COLUMNS))
    sys.exit(0 if report.met else 1)
