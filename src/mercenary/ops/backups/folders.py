"""What both kinds of backup have in common: a folder that is whole, and a manifest that says so."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError, NoResultFound
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from mercenary.settings import SetupError

MANIFEST: Final = "manifest.json"
MAKING: Final = ".making-"
"""What the name of a folder begins with that isn't whole yet, or never will be."""
_PIECE: Final = 1 << 20


class DumpManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a dump is of. `rows` are each table's at the snapshot, `revision` the schema's."""

    kind: str = "dump"
    made_at: datetime
    database: str
    server_version: str
    revision: str
    dump_bytes: int
    dump_sha256: str
    rows: dict[str, int]


class File(msgspec.Struct, frozen=True):
    """A file of a backup: its size in bytes, and its sum."""

    bytes: int
    sha256: str


class CopyManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a copy of a server is of. `role` and `database` are those it was made by.

    `server_version_num` is as PostgreSQL tells it: only programs of that major version can run it.
    """

    kind: str = "physical"
    made_at: datetime
    database: str
    role: str
    server_version: str
    server_version_num: int
    revision: str
    files: dict[str, File]

    @property
    def major(self) -> int:
        """The version whose programs can run it."""
        return self.server_version_num // 10_000

    @property
    def bytes(self) -> int:
        """All files together."""
        return sum(file.bytes for file in self.files.values())


Manifest = DumpManifest | CopyManifest


class NotProven(Exception):
    """A backup doesn't hold what it should; the text says what."""


class _Kind(msgspec.Struct):
    kind: str = "dump"


_KINDS: Final[dict[str, type[Manifest]]] = {"dump": DumpManifest, "physical": CopyManifest}
VERSION = text("""
SELECT current_setting('server_version_num')::int, current_setting('server_version')
""")
"""A server's version as a number and as text."""
_REVISION = text("SELECT version_num FROM alembic_version")


def read(backup: Path) -> Manifest:
    """What a folder is a backup of.

    Raises:
        SetupError: it is none.
    """
    try:
        encoded = (backup / MANIFEST).read_bytes()
        kind = msgspec.json.decode(encoded, type=_Kind).kind
        return msgspec.json.decode(encoded, type=_KINDS[kind])
    except (FileNotFoundError, NotADirectoryError):
        raise SetupError(f"{backup} is no backup: it has no {MANIFEST}") from None
    except KeyError as unknown:
        raise SetupError(f"{backup} is of a kind that isn't known here: {unknown}") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise SetupError(f"{backup / MANIFEST} can't be read: {error}") from error


def begun(folder: Path) -> Path:
    """A new folder below `folder`, for a backup that isn't one yet.

    Raises:
        SetupError: it can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=MAKING, dir=folder))
    except OSError as error:
        raise SetupError(f"can't write to {folder}: {error.strerror}") from error


def finish(making: Path, name: str, manifest: Manifest) -> Path:
    """Give a whole backup its name, once it is on the disk; its folder."""
    (making / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    for path in (*making.iterdir(), making):
        _to_disk(path)
    made = making.parent / name
    making.rename(made)
    _to_disk(made.parent)
    return made


def summed(path: Path) -> File:
    """A file's size and sum."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return File(path.stat().st_size, digest.hexdigest())


def compare(path: Path, was: File) -> None:
    """Whether a file is what it was when the backup was made.

    Raises:
        NotProven: it isn't.
    """
    if not path.exists():
        raise NotProven(f"{path.name} is missing")
    if path.stat().st_size != was.bytes:
        raise NotProven(f"{path.name} has {path.stat().st_size} bytes, and had {was.bytes}")
    if summed(path) != was:
        raise NotProven(f"{path.name} isn't what it was: its SHA-256 differs")


def require_room(folder: Path, needed: int) -> None:
    """Raise `SetupError` where so many bytes have no room in `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SetupError(
            f"the disk of {folder} has {free >> 20:,} MiB left, and this takes {needed >> 20:,}"
        )


@asynccontextmanager
async def connected(url: URL) -> AsyncIterator[AsyncConnection]:
    """A connection outside of any pool and transaction."""
    engine = create_async_engine(
        url, poolclass=NullPool, isolation_level="AUTOCOMMIT", hide_parameters=True
    )
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


async def revision_of(db: AsyncConnection) -> str:
    """The schema's revision.

    Raises:
        SetupError: there is no schema of ours.
    """
    try:
        return str((await db.execute(_REVISION)).scalar_one())
    except (DBAPIError, NoResultFound) as error:
        raise SetupError("the database has no schema of ours; run `mercenary migrate`") from error


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
