"""`mercenary db backup`, `verify` and `restore`: a backup, its proof, and its use."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from mercenary.cli.db.showing import as_json_option, bytes_text, faults_told
from mercenary.cli.failures import CommandError
from mercenary.local.children import ChildError
from mercenary.local.state import effective
from mercenary.ops.backups import copies, dumps
from mercenary.ops.backups.folders import CopyManifest, DumpManifest, Manifest, NotProven, read
from mercenary.settings import load

T = TypeVar("T")

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--to", type=_FOLDER, default="backups", show_default=True, help="Below which.")
@click.option("--physical", is_flag=True, help="Copy the whole server, by pg_basebackup.")
@click.option(
    "--rate", type=click.IntRange(1, 1024), help="MiB a second that --physical reads at most."
)
@as_json_option
def command(to: Path, physical: bool, rate: int | None, as_json: bool) -> None:
    """Back the database up by pg_dump, into a folder of its own.

    It holds all that was committed at one moment, a SHA-256, and the number of rows of each table.
    With --physical it is a copy of the server's files instead, which is quicker to restore where
    there is much; it wants a role with REPLICATION, and a server of the same version to run on.

    Exit code 0 when the backup is whole and on the disk; 2, and no folder, when it isn't.
    """
    if rate is not None and not physical:
        raise click.UsageError("--rate goes with --physical")
    made: tuple[Path, Manifest]
    if physical:
        made = _run(copies.back_up(_uri(), to, rate=rate))
    else:
        made = _run(dumps.back_up(_uri(), to))
    folder, manifest = made
    if as_json:
        _json({"folder": str(folder), "manifest": manifest})
    else:
        click.echo(f"{folder}: {_told(manifest)}; `mercenary db verify {folder}` proves it")


@click.command()
@click.argument("backup", type=_FOLDER)
@as_json_option
def verify(backup: Path, as_json: bool) -> None:
    """Prove a backup: sum it, restore it beside everything else, look into it, and drop that.

    A dump is restored into a database of its own on the server, and its rows are counted. A copy is
    unpacked, compared file by file by pg_verifybackup, and a server of its own is started on it, in
    which what `mercenary db check` checks must hold. Either takes the room of what it restores.

    Exit code 0 when the backup is proven, 1 when it isn't what it should be, 2 when that can't be
    found out.
    """
    manifest = read(backup)
    try:
        if isinstance(manifest, CopyManifest):
            _run(copies.verify(backup, manifest))
        else:
            _run(dumps.verify(_uri(), backup, manifest))
    except NotProven as error:
        if as_json:
            _json({"proven": False, "why": str(error), "manifest": manifest})
        else:
            click.echo(f"{backup} is NOT proven: {error}")
        sys.exit(1)
    if as_json:
        _json({"proven": True, "why": None, "manifest": manifest})
    else:
        click.echo(f"{backup} is proven: {_proof(manifest)}")


@click.command()
@click.argument("backup", type=_FOLDER)
@click.option(
    "--into",
    required=True,
    help="The name of the new database; of a copy by --physical, the new folder.",
)
@as_json_option
def restore(backup: Path, into: str, as_json: bool) -> None:
    """Restore a dump into a new database, or a copy into a new folder.

    Nothing is ever written over. To switch over, point SQLALCHEMY_DATABASE_URI at the new database,
    or start a server on the folder, and restart. Exit code 0 when it is restored, 2 when it isn't.
    """
    manifest = read(backup)
    try:
        if isinstance(manifest, CopyManifest):
            owner = _run(copies.restore(backup, manifest, Path(into))).name
            restored = {"folder": str(Path(into).absolute()), "owner": owner}
            told = (
                f"Restored into {into}, which belongs to {owner}. A server of PostgreSQL "
                f"{manifest.major} can be started on it: postgres -D {Path(into).absolute()}"
            )
        else:
            address = _run(dumps.restore(_uri(), backup, manifest, into))
            restored = {"uri": address}
            told = f"Restored. To use it: SQLALCHEMY_DATABASE_URI={address}"
    except NotProven as error:
        raise CommandError(f"{backup} is not proven: {error}") from error
    if as_json:
        _json(restored)
    else:
        click.echo(told)


def _told(manifest: Manifest) -> str:
    if isinstance(manifest, DumpManifest):
        return f"{_rows(manifest)} in {bytes_text(manifest.dump_bytes)}"
    return f"PostgreSQL {manifest.server_version}, {bytes_text(manifest.bytes)}"


def _proof(manifest: Manifest) -> str:
    if isinstance(manifest, DumpManifest):
        return f"{_rows(manifest)} restored and counted"
    return f"each file is what it was, and a PostgreSQL {manifest.major} that ran on it agrees"


def _rows(manifest: DumpManifest) -> str:
    return f"{sum(manifest.rows.values()):,} rows of {len(manifest.rows)} tables"


def _uri() -> str:
    return effective(load()).sqlalchemy_database_uri or ""


def _run(work: Coroutine[Any, Any, T]) -> T:
    with faults_told():
        try:
            return asyncio.run(work)
        except ChildError as error:
            raise CommandError(f"{error}: {error.reason}") from error


def _json(answer: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
