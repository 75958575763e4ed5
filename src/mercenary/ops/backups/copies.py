"""Copies of a whole server by pg_basebackup: a tar of its files and of the log that makes them one
moment, and PostgreSQL's own manifest of them.

The log is fetched at the end (`--wal-method=fetch`), for which a temporary slot of ours keeps it.
To stream it beside, pg_basebackup forks a process that outlives a kill of the first one and holds
its connection open; the server then goes on sending to nobody, and DROP DATABASE waits for it.

`verify` unpacks a copy, has pg_verifybackup compare each file and read the log, and starts a server
on it that nobody else can reach, in which the product's invariants are recounted. That takes the
programs of the copy's own version, and no other server.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.invariants import check_all
from mercenary.db.uri import asyncpg_url
from mercenary.local.account import Account, serving_account
from mercenary.local.children import ChildError
from mercenary.local.copied import CopiedPostgres
from mercenary.local.stack import temporary_folder
from mercenary.ops.backups.folders import (
    MAKING,
    VERSION,
    CopyManifest,
    NotProven,
    begun,
    compare,
    connected,
    finish,
    require_room,
    revision_of,
    summed,
)
from mercenary.ops.backups.programs import client, run, server, talk
from mercenary.settings import SetupError

BASE: Final = "base.tar"
THEIR_MANIFEST: Final = "backup_manifest"
FILES: Final = (BASE, THEIR_MANIFEST)

_TABLESPACES = text("SELECT count(*) FROM pg_tablespace WHERE spcname !~ '^pg_'")
_ROLE = text("SELECT current_user")
# It goes with the session, however that ends.
_KEEP_LOG = text("SELECT pg_create_physical_replication_slot(:name, true, true)")
# Since PostgreSQL 14.
_STAY = text("""
SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'
""")


async def back_up(uri: str, folder: Path, *, rate: int | None) -> tuple[Path, CopyManifest]:
    """Copy the server into a new folder below `folder`; its path, and what it holds.

    `rate` is how many MiB a second are read at most.

    Raises:
        SetupError: a program is missing, the folder can't be written, or there are tablespaces.
        ChildError: pg_basebackup failed, or took too long.
    """
    url = asyncpg_url(uri)
    now = datetime.now(UTC)
    async with connected(url) as db:
        number, version = (await db.execute(VERSION)).one()
        revision = await revision_of(db)
        role = (await db.execute(_ROLE)).scalar_one()
        await _refuse_tablespaces(db)
    program = await asyncio.to_thread(client, "pg_basebackup", number // 10_000)
    making = begun(folder)
    try:
        arguments = ["--format=tar", "--wal-method=fetch", "--checkpoint=fast", "--no-password"]
        arguments += ["--manifest-checksums=SHA256", f"--pgdata={making}"]
        if rate is not None:
            arguments.append(f"--max-rate={rate}M")
        async with connected(url) as db:
            await db.execute(_STAY)
            await db.execute(_KEEP_LOG, {"name": f"mercenary_backup_{uuid4().hex[:12]}"})
            await talk(uri, program, *arguments)
        manifest = CopyManifest(
            made_at=now,
            database=url.database or "",
            role=role,
            server_version=version,
            server_version_num=number,
            revision=revision,
            files={name: await asyncio.to_thread(summed, making / name) for name in FILES},
        )
        name = f"{url.database}-{now:%Y%m%dT%H%M%S.%fZ}-physical"
        made = await asyncio.to_thread(finish, making, name, manifest)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return made, manifest


async def verify(backup: Path, manifest: CopyManifest) -> None:
    """Prove that a server starts on a copy and holds what it should.

    Raises:
        NotProven: a byte isn't as it was, it doesn't start, or an invariant doesn't hold.
        SetupError: a program is missing, or there is no room.
    """
    checker = await asyncio.to_thread(server, "pg_verifybackup", manifest.major)
    program = await asyncio.to_thread(server, "postgres", manifest.major)
    await _compare(backup, manifest)
    account = serving_account()
    with _room(backup.parent, account) as room:
        cluster = room / "cluster"
        account.own(cluster)
        await _unpack(backup, manifest, cluster, account)
        try:
            await run([str(checker), "--exit-on-error", str(cluster)])
        except ChildError as error:
            raise NotProven(f"{checker.name}: {error.reason}") from error
        copied = CopiedPostgres(cluster, room, program, account)
        try:
            await asyncio.to_thread(copied.start)
            await _look_into(copied.uri(manifest.role, manifest.database), manifest)
        except ChildError as error:
            raise NotProven(f"no server starts on it: {error.reason}") from error
        finally:
            await asyncio.to_thread(copied.stop)


async def restore(backup: Path, manifest: CopyManifest, folder: Path) -> Account:
    """Unpack a copy into a new folder, on which a server can be started; whose it is.

    Raises:
        NotProven: a file isn't what it was when the copy was made.
        SetupError: the folder is there, can't be written, or there is no room.
    """
    _refuse_what_is_there(folder)
    await _compare(backup, manifest)
    account = serving_account()
    making = begun(folder.parent)
    try:
        await _unpack(backup, manifest, making, account)
        await asyncio.to_thread(making.rename, folder)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return account


async def _compare(backup: Path, manifest: CopyManifest) -> None:
    if set(manifest.files) != set(FILES):
        raise NotProven(f"its manifest names {', '.join(manifest.files)}, not {', '.join(FILES)}")
    for name, was in manifest.files.items():
        await asyncio.to_thread(compare, backup / name, was)


def _refuse_what_is_there(folder: Path) -> None:
    if folder.exists():
        raise SetupError(f"there is {folder}; nothing is ever restored over anything")


async def _refuse_tablespaces(db: AsyncConnection) -> None:
    if (await db.execute(_TABLESPACES)).scalar_one():
        raise SetupError(
            "the server has tablespaces, whose places a copy would have to take over; make a dump, "
            "or use pg_basebackup itself"
        )


async def _unpack(backup: Path, manifest: CopyManifest, cluster: Path, account: Account) -> None:
    """Put a copy's files into an empty folder, where a server of this account finds them."""
    require_room(cluster, manifest.bytes)
    # The caller's files, whoever's they were. GNU tar writes nothing outside of the folder.
    command = ["tar", "-x", "--no-same-owner", "-f", str(backup / BASE), "-C", str(cluster)]
    await run(command)
    await asyncio.to_thread(_complete, backup, cluster)
    if account.switched:
        await run(["chown", "-Rh", f"{account.uid}:{account.gid}", str(cluster)])


def _complete(backup: Path, cluster: Path) -> None:
    shutil.copyfile(backup / THEIR_MANIFEST, cluster / THEIR_MANIFEST)
    for name in ("standby.signal", "recovery.signal"):  # of a copy that a standby gave
        (cluster / name).unlink(missing_ok=True)
    cluster.chmod(0o700)


@contextmanager
def _room(beside: Path, account: Account) -> Iterator[Path]:
    """A folder that is gone at the end: beside the backup, or where the account can reach it."""
    if account.crosses(beside):
        room = Path(tempfile.mkdtemp(prefix=MAKING, dir=beside))
        room.chmod(0o711)
    else:
        room = temporary_folder()
    try:
        yield room
    finally:
        shutil.rmtree(room)


async def _look_into(uri: str, manifest: CopyManifest) -> None:
    async with connected(asyncpg_url(uri)) as db:
        revision = await revision_of(db)
        if revision != manifest.revision:
            raise NotProven(f"the schema is at {revision}, and was at {manifest.revision}")
        for checked in await check_all(db):
            if checked.violations:
                raise NotProven(f"{checked.name} has {checked.violations:,} violations in it")
