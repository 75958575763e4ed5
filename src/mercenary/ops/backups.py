"""Backups of the database that are proven: dumped at one moment, summed, restored to see.

A backup is a folder with a dump by pg_dump and a manifest: the dump's SHA-256, and how many rows
each table had at the very snapshot that was dumped. It gets its name when it is whole and on the
disk, so whatever has no manifest is no backup. `verify` sums the dump again, restores it into a
database of its own and counts.
"""

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from mercenary.db.uri import asyncpg_url
from mercenary.local.account import serving_account
from mercenary.local.binaries import postgres_programs
from mercenary.local.children import ChildError, run_once
from mercenary.settings import SetupError

MANIFEST: Final = "manifest.json"
DUMP: Final = "database.dump"
LONGEST_SECONDS: Final = 6 * 3600.0
"""After so long a dump or a restore is given up."""
_PIECE: Final = 1 << 20
_MAJOR: Final = 10_000
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup is of. `rows` are each table's at the snapshot, `revision` the schema's."""

    made_at: datetime
    database: str
    server_version: str
    revision: str | None
    dump_bytes: int
    dump_sha256: str
    rows: dict[str, int]


class NotProven(Exception):
    """A backup doesn't hold what it should; the text says what."""


_SNAPSHOT = text("SELECT pg_export_snapshot()")
_UNBOUND = text("""
SELECT set_config('statement_timeout', '0', true),
       set_config('idle_in_transaction_session_timeout', '0', true)
""")
_VERSION = text("""
SELECT current_setting('server_version_num')::int, current_setting('server_version')
""")
_TABLES = text("""
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
ORDER BY relname
""")
_REVISION = text("SELECT version_num FROM alembic_version")
_EXISTS = text("SELECT EXISTS (SELECT FROM pg_database WHERE datname = :name)")


async def back_up(uri: str, folder: Path) -> tuple[Path, Manifest]:
    """Dump the database into a new folder below `folder`; its path, and what it holds.

    Raises:
        SetupError: a program is missing, or the folder can't be written.
        ChildError: pg_dump failed, or took too long.
    """
    url = make_url(asyncpg_url(uri))
    now = datetime.now(UTC)
    making = _begun(folder)
    try:
        async with _connected(url) as db:
            await db.execute(text("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            await db.execute(_UNBOUND)
            snapshot = (await db.execute(_SNAPSHOT)).scalar_one()
            number, version = (await db.execute(_VERSION)).one()
            dump = making / DUMP
            arguments = ["--format=custom", f"--snapshot={snapshot}", f"--file={dump}"]
            await _run(number, url, "pg_dump", *arguments)
            manifest = Manifest(
                made_at=now,
                database=url.database or "",
                server_version=version,
                revision=await _revision(db),
                dump_bytes=dump.stat().st_size,
                dump_sha256=await asyncio.to_thread(_sum, dump),
                rows=await _rows(db),
            )
        made = folder / f"{url.database}-{now:%Y%m%dT%H%M%S.%fZ}"
        await asyncio.to_thread(_finish, making, made, manifest)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return made, manifest


async def verify(uri: str, backup: Path) -> Manifest:
    """Prove that a backup can be restored, in a database on this server that is dropped then.

    Raises:
        NotProven: a byte, a table or a row isn't as the manifest says, or it can't be restored.
        SetupError: it is no backup, or a program is missing.
    """
    manifest = await _summed(backup)
    scratch = f"mercenary_verify_{uuid4().hex[:12]}"
    url = make_url(asyncpg_url(uri))
    try:
        await _restore(url, backup, scratch)
        async with _connected(url.set(database=scratch)) as db:
            rows, revision = await _rows(db), await _revision(db)
    except ChildError as error:
        raise NotProven(f"it can't be restored: {error.reason}") from error
    finally:
        await _administer(url, f'DROP DATABASE IF EXISTS "{scratch}"')
    if rows != manifest.rows:
        raise NotProven(f"restored rows differ: {_difference(manifest.rows, rows)}")
    if revision != manifest.revision:
        raise NotProven(f"the schema is at {revision}, and was at {manifest.revision}")
    return manifest


async def restore(uri: str, backup: Path, name: str) -> str:
    """Restore a backup into a new database of this server; its address, without a password.

    Raises:
        NotProven: the dump isn't what it was when it was made.
        SetupError: the name is taken or none, it is no backup, or a program is missing.
        ChildError: pg_restore failed; the database is gone again.
    """
    if not _NAME.fullmatch(name):
        raise SetupError(f"{name!r} is no name for a database: small letters, digits and _")
    url = make_url(asyncpg_url(uri))
    async with _connected(url) as db:
        if (await db.execute(_EXISTS, {"name": name})).scalar_one():
            raise SetupError(f"there is a database {name}; nothing is ever restored over another")
    await _summed(backup)
    try:
        await _restore(url, backup, name)
    except ChildError:
        await _administer(url, f'DROP DATABASE IF EXISTS "{name}"')
        raise
    return _for_programs(url.set(database=name))


async def _summed(backup: Path) -> Manifest:
    """The manifest of a backup whose dump has the bytes that it had."""
    try:
        manifest = msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise SetupError(f"{backup} is no backup: it has no {MANIFEST}") from None
    except msgspec.MsgspecError as error:
        raise SetupError(f"{backup / MANIFEST} can't be read: {error}") from error
    dump = backup / DUMP
    if not dump.exists():
        raise NotProven(f"{DUMP} is missing")
    if dump.stat().st_size != manifest.dump_bytes:
        raise NotProven(f"{DUMP} has {dump.stat().st_size} bytes, and had {manifest.dump_bytes}")
    if await asyncio.to_thread(_sum, dump) != manifest.dump_sha256:
        raise NotProven(f"{DUMP} isn't what it was: its SHA-256 differs")
    return manifest


async def _restore(url: URL, backup: Path, name: str) -> None:
    await _administer(url, f'CREATE DATABASE "{name}" TEMPLATE template0')
    async with _connected(url) as db:
        number, _ = (await db.execute(_VERSION)).one()
    arguments = ["--exit-on-error", "--no-owner", "--single-transaction", str(backup / DUMP)]
    await _run(number, url.set(database=name), "pg_restore", *arguments)


async def _run(number: int, url: URL, program: str, *arguments: str) -> None:
    """Run a program that talks to a server of this version number."""
    folder = await asyncio.to_thread(programs_for, number // _MAJOR)
    password = {} if url.password is None else {"PGPASSWORD": url.password}
    await asyncio.to_thread(
        run_once,
        [str(folder / program), f"--dbname={_for_programs(url)}", *arguments],
        # Where everybody on the host can't read it, as they could among the arguments.
        environment={**os.environ, **password},
        within=LONGEST_SECONDS,
    )


def programs_for(major: int) -> Path:
    """The folder of the oldest pg_dump here that is as new as the server.

    Raises:
        SetupError: there is none.
    """
    found = shutil.which("pg_dump")
    folders = [
        Path(f"/usr/lib/postgresql/{major}/bin"),
        *([Path(found).parent] if found else []),
        postgres_programs(serving_account()),
    ]
    known = {folder: _major_of(folder) for folder in folders if (folder / "pg_dump").exists()}
    fit = [folder for folder, its in known.items() if its >= major]
    if not fit:
        raise SetupError(
            f"no pg_dump here is as new as the server; install postgresql-client-{major}"
        )
    return min(fit, key=known.__getitem__)


def _major_of(folder: Path) -> int:
    said = run_once([str(folder / "pg_dump"), "--version"])
    return int(re.findall(r"\d+", said)[0])


def _for_programs(url: URL) -> str:
    """The address as libpq takes it."""
    plain = url.set(drivername="postgresql")._replace(password=None)
    return plain.render_as_string(hide_password=False)


@asynccontextmanager
async def _connected(url: URL) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(
        url, poolclass=NullPool, isolation_level="AUTOCOMMIT", hide_parameters=True
    )
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


async def _administer(url: URL, statement: str) -> None:
    async with _connected(url) as db:
        await db.execute(text(statement))


async def _revision(db: AsyncConnection) -> str | None:
    try:
        return (await db.execute(_REVISION)).scalar()
    except DBAPIError as error:
        raise SetupError("the database has no schema of ours; run `mercenary migrate`") from error


async def _rows(db: AsyncConnection) -> dict[str, int]:
    tables: Sequence[str] = (await db.execute(_TABLES)).scalars().all()
    return {
        name: (await db.execute(text(f'SELECT count(*) FROM "{name}"'))).scalar_one()  # noqa: S608
        for name in tables
    }


def _difference(expected: Mapping[str, int], found: Mapping[str, int]) -> str:
    names = sorted(set(expected) | set(found))
    return ", ".join(
        f"{name} has {_count(found, name)}, and had {_count(expected, name)}"
        for name in names
        if expected.get(name) != found.get(name)
    )


def _count(rows: Mapping[str, int], name: str) -> Any:
    return rows.get(name, "none")


def _begun(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".making-", dir=folder))
    except OSError as error:
        raise SetupError(f"can't write to {folder}: {error.strerror}") from error


def _finish(making: Path, made: Path, manifest: Manifest) -> None:
    """Give a whole backup its name, once it is on the disk."""
    encoded = msgspec.json.format(msgspec.json.encode(manifest))
    (making / MANIFEST).write_bytes(encoded)
    for path in (making / DUMP, making / MANIFEST, making):
        _to_disk(path)
    making.rename(made)
    _to_disk(made.parent)


def _sum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
