"""Dumps of one database by pg_dump, and how many rows each table had at the very same snapshot.

`verify` sums a dump again, restores it into a database of its own on the same server, and counts.
"""

import asyncio
import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.uri import asyncpg_url
from mercenary.local.children import ChildError
from mercenary.ops.backups.folders import (
    VERSION,
    DumpManifest,
    File,
    NotProven,
    begun,
    compare,
    connected,
    finish,
    revision_of,
    summed,
)
from mercenary.ops.backups.programs import address, client, talk
from mercenary.settings import SetupError

DUMP: Final = "database.dump"
_MAJOR: Final = 10_000
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")

_SNAPSHOT = text("SELECT pg_export_snapshot()")
_UNBOUND = text("""
SELECT set_config('statement_timeout', '0', true),
       set_config('idle_in_transaction_session_timeout', '0', true)
""")
_TABLES = text("""
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
ORDER BY relname
""")
_EXISTS = text("SELECT EXISTS (SELECT FROM pg_database WHERE datname = :name)")


async def back_up(uri: str, folder: Path) -> tuple[Path, DumpManifest]:
    """Dump the database into a new folder below `folder`; its path, and what it holds.

    Raises:
        SetupError: a program is missing, or the folder can't be written.
        ChildError: pg_dump failed, or took too long.
    """
    url = asyncpg_url(uri)
    now = datetime.now(UTC)
    making = begun(folder)
    try:
        async with connected(url) as db:
            await db.execute(text("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            await db.execute(_UNBOUND)
            snapshot = (await db.execute(_SNAPSHOT)).scalar_one()
            number, version = (await db.execute(VERSION)).one()
            program = await asyncio.to_thread(client, "pg_dump", number // _MAJOR)
            dump = making / DUMP
            arguments = ["--format=custom", f"--snapshot={snapshot}", f"--file={dump}"]
            await talk(uri, program, *arguments)
            file = await asyncio.to_thread(summed, dump)
            manifest = DumpManifest(
                made_at=now,
                database=url.database or "",
                server_version=version,
                revision=await revision_of(db),
                dump_bytes=file.bytes,
                dump_sha256=file.sha256,
                rows=await _rows(db),
            )
        name = f"{url.database}-{now:%Y%m%dT%H%M%S.%fZ}"
        made = await asyncio.to_thread(finish, making, name, manifest)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return made, manifest


async def verify(uri: str, backup: Path, manifest: DumpManifest) -> None:
    """Prove that a dump can be restored, in a database on this server that is dropped then.

    Raises:
        NotProven: a byte, a table or a row isn't as the manifest says, or it can't be restored.
        SetupError: a program is missing.
    """
    await _compare(backup, manifest)
    scratch = f"mercenary_verify_{uuid4().hex[:12]}"
    url = asyncpg_url(uri)
    try:
        await _restore(uri, backup, scratch)
        async with connected(url.set(database=scratch)) as db:
            rows, revision = await _rows(db), await revision_of(db)
    except ChildError as error:
        raise NotProven(f"it can't be restored: {error.reason}") from error
    finally:
        await _administer(url, f'DROP DATABASE IF EXISTS "{scratch}"')
    if rows != manifest.rows:
        raise NotProven(f"restored rows differ: {_difference(manifest.rows, rows)}")
    if revision != manifest.revision:
        raise NotProven(f"the schema is at {revision}, and was at {manifest.revision}")


async def restore(uri: str, backup: Path, manifest: DumpManifest, name: str) -> str:
    """Restore a dump into a new database of this server; its address, without a password.

    Raises:
        NotProven: the dump isn't what it was when it was made.
        SetupError: the name is taken or none, or a program is missing.
        ChildError: pg_restore failed; the database is gone again.
    """
    if not _NAME.fullmatch(name):
        raise SetupError(f"{name!r} is no name for a database: small letters, digits and _")
    url = asyncpg_url(uri)
    async with connected(url) as db:
        if (await db.execute(_EXISTS, {"name": name})).scalar_one():
            raise SetupError(f"there is a database {name}; nothing is ever restored over another")
    await _compare(backup, manifest)
    try:
        await _restore(uri, backup, name)
    except ChildError:
        await _administer(url, f'DROP DATABASE IF EXISTS "{name}"')
        raise
    return address(_beside(uri, name))


async def _compare(backup: Path, manifest: DumpManifest) -> None:
    was = File(manifest.dump_bytes, manifest.dump_sha256)
    await asyncio.to_thread(compare, backup / DUMP, was)


async def _restore(uri: str, backup: Path, name: str) -> None:
    url = asyncpg_url(uri)
    async with connected(url) as db:
        number, _ = (await db.execute(VERSION)).one()
    program = await asyncio.to_thread(client, "pg_restore", number // _MAJOR)
    await _administer(url, f'CREATE DATABASE "{name}" TEMPLATE template0')
    arguments = ["--exit-on-error", "--no-owner", "--single-transaction", str(backup / DUMP)]
    await talk(_beside(uri, name), program, *arguments)


def _beside(uri: str, name: str) -> str:
    """Another database of the same server."""
    return make_url(uri).set(database=name).render_as_string(hide_password=False)


async def _administer(url: URL, statement: str) -> None:
    async with connected(url) as db:
        await db.execute(text(statement))


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
