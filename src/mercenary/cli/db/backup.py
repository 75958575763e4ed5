"""`mercenary db backup`, `verify` and `restore`: a dump, its proof, and its use."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from mercenary.cli.db.showing import as_json_option, bytes_text
from mercenary.cli.failures import CommandError
from mercenary.db.faults import as_problem
from mercenary.errors import ProblemError
from mercenary.local.children import ChildError
from mercenary.local.state import effective
from mercenary.ops import backups
from mercenary.settings import load

T = TypeVar("T")

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--to", type=_FOLDER, default="backups", show_default=True, help="Below which.")
@as_json_option
def command(to: Path, as_json: bool) -> None:
    """Back the database up by pg_dump, into a folder of its own.

    It holds all that was committed at one moment, a SHA-256, and the number of rows of each table.
    """
    made, manifest = _run(backups.back_up(_uri(), to))
    if as_json:
        _json({"folder": str(made), "manifest": manifest})
    else:
        click.echo(
            f"{made}: {sum(manifest.rows.values()):,} rows of {len(manifest.rows)} tables in "
            f"{bytes_text(manifest.dump_bytes)}; `mercenary db verify {made}` proves it"
        )


@click.command()
@click.argument("backup", type=_FOLDER)
@as_json_option
def verify(backup: Path, as_json: bool) -> None:
    """Prove a backup: sum it, restore it into a database of its own, count, and drop that.

    Exit code 1 when it isn't what it should be. It takes as much room as the database.
    """
    try:
        manifest = _run(backups.verify(_uri(), backup))
    except backups.NotProven as error:
        if as_json:
            _json({"proven": False, "why": str(error)})
        else:
            click.echo(f"{backup} is NOT proven: {error}")
        sys.exit(1)
    if as_json:
        _json({"proven": True, "manifest": manifest})
    else:
        rows = sum(manifest.rows.values())
        click.echo(f"{backup} is proven: {rows:,} rows restored and counted")


@click.command()
@click.argument("backup", type=_FOLDER)
@click.option("--into", "name", required=True, help="The name of the new database.")
def restore(backup: Path, name: str) -> None:
    """Restore a backup into a new database beside the others; nothing is ever written over.

    To switch over, point SQLALCHEMY_DATABASE_URI at it and restart.
    """
    try:
        address = _run(backups.restore(_uri(), backup, name))
    except backups.NotProven as error:
        raise CommandError(f"{backup} is not proven: {error}") from error
    click.echo(f"Restored. To use it: SQLALCHEMY_DATABASE_URI={address}")


def _uri() -> str:
    return effective(load()).sqlalchemy_database_uri or ""


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except ChildError as error:
        raise CommandError(f"{error}: {error.reason}") from error
    except Exception as error:
        problem = as_problem(error)
        if isinstance(problem, ProblemError):
            raise CommandError(f"the database can't be asked: {problem}") from error
        raise


def _json(answer: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
