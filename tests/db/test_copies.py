"""`mercenary db backup --physical`: a copy of the server, proven by running one on it."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import make_url

from mercenary import settings
from mercenary.cli import main
from mercenary.local.children import wait_until
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.ops.backups import programs
from mercenary.ops.backups.copies import BASE, FILES
from mercenary.ops.backups.folders import MANIFEST, summed
from mercenary.seeding.seed import seed
from mercenary.settings import SetupError
from tests.conftest import server_folder
from tests.db.conftest import connected

PATIENCE = 30.0


NOBODY = "postgresql://nobody@127.0.0.1:1/nothing"


def invoke(*arguments: str, uri: str = NOBODY) -> Result:
    """Call a command. Most must do without a server."""
    return CliRunner().invoke(main, ("db", *arguments), env={"SQLALCHEMY_DATABASE_URI": uri})


async def call(*arguments: str, uri: str = NOBODY) -> Result:
    """The same in a thread, for it runs a loop of its own."""
    return await asyncio.to_thread(invoke, *arguments, uri=uri)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where the server's account can get to: it is where copies are unpacked."""
    with server_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
async def uri(database_uri: str) -> str:
    """A small marketplace."""
    await seed(database_uri, settings.get(), projects=50, seed=1, with_demo=True)
    return database_uri


@pytest.fixture(scope="module")
async def wrong(postgres: EmbeddedPostgres, uri: str) -> AsyncIterator[str]:
    """The name of a database beside it in which a client has another name than its projects say."""
    name = "wrong_names"
    async with connected(postgres.uri) as connection:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {make_url(uri).database}")
    async with connected(make_url(uri).set(database=name).render_as_string(False)) as connection:
        await connection.execute("UPDATE projects SET client_name = 'Nobody' WHERE id = 1")
    yield name
    async with connected(postgres.uri) as connection:
        await connection.execute(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
async def made(uri: str, wrong: str, folder: Path) -> Path:
    """One copy for all tests, which change copies of its folder."""
    result = await call("backup", "--physical", "--to", str(folder), "--json", uri=uri)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output)
    assert set(answer["manifest"]["files"]) == set(FILES)
    return Path(answer["folder"])


@pytest.fixture
def copy(made: Path, folder: Path) -> Iterator[Path]:
    """A backup of one's own. Its files are the same until they are replaced."""
    copy = folder / "copied"
    shutil.copytree(made, copy, copy_function=os.link)
    yield copy
    shutil.rmtree(copy)


def rewrite(copy: Path, **changes: Any) -> None:
    """Change what the manifest says."""
    manifest = json.loads((copy / MANIFEST).read_bytes()) | changes
    (copy / MANIFEST).unlink()
    (copy / MANIFEST).write_text(json.dumps(manifest))


def damage(file: Path, place: int, content: bytes = b"\xff") -> None:
    """Write something else into a file, which no other folder has then."""
    damaged = bytearray(file.read_bytes())
    damaged[place : place + len(content)] = content
    file.unlink()
    file.write_bytes(damaged)


def unfinished(folder: Path) -> list[Path]:
    return list(folder.glob(".making-*"))


async def test_a_copy_is_proven_by_running_a_server_on_it(made: Path, folder: Path) -> None:
    result = await call("verify", str(made), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["proven"] is True
    assert unfinished(folder) == []


async def test_a_copy_is_restored_into_a_new_folder_only(made: Path, folder: Path) -> None:
    restored = folder / "restored"
    result = await call("restore", str(made), "--into", str(restored))
    assert result.exit_code == 0, result.output
    major = json.loads((made / MANIFEST).read_bytes())["server_version_num"] // 10_000
    assert (restored / "PG_VERSION").read_text().strip() == str(major)
    assert list((restored / "pg_wal").iterdir())
    assert restored.stat().st_mode & 0o777 == 0o700
    before = (restored / "backup_label").stat().st_mtime_ns
    again = await call("restore", str(made), "--into", str(restored))
    assert again.exit_code == 2
    assert "nothing is ever restored over" in again.output
    assert (restored / "backup_label").stat().st_mtime_ns == before
    assert unfinished(folder) == []
    shutil.rmtree(restored)


@pytest.mark.parametrize("name", FILES)
async def test_a_changed_byte_is_found(copy: Path, name: str) -> None:
    damage(copy / name, (copy / name).stat().st_size // 2)
    for command in (("verify",), ("restore", "--into", str(copy / "anything"))):
        result = await call(*command, str(copy))
        assert result.exit_code == (1 if command == ("verify",) else 2)
        assert f"{name} isn't what it was" in result.output


@pytest.mark.parametrize("name", FILES)
async def test_a_missing_file_is_found(copy: Path, name: str) -> None:
    (copy / name).unlink()
    result = await call("verify", str(copy))
    assert result.exit_code == 1
    assert f"{name} is missing" in result.output


async def test_what_the_server_did_not_send_is_found_whatever_our_sums_say(copy: Path) -> None:
    place = (copy / BASE).read_bytes().index(b"PG_VERSION") + 512
    damage(copy / BASE, place, b"99")
    files = json.loads((copy / MANIFEST).read_bytes())["files"]
    now = summed(copy / BASE)
    rewrite(copy, files=files | {BASE: {"bytes": now.bytes, "sha256": now.sha256}})
    result = await call("verify", str(copy))
    assert result.exit_code == 1
    assert "pg_verifybackup: " in result.output
    assert "PG_VERSION" in result.output


async def test_the_server_that_runs_on_it_is_looked_into(
    copy: Path, folder: Path, wrong: str
) -> None:
    rewrite(copy, database=wrong)
    result = await call("verify", str(copy))
    assert result.exit_code == 1
    assert "project_client_names has 1 violations in it" in result.output
    assert unfinished(folder) == []


def senders(postgres: EmbeddedPostgres) -> str:
    """How many backups the server is sending."""
    return postgres.run_sql("SELECT count(*) FROM pg_stat_progress_basebackup")


def test_a_copy_that_was_killed_is_none(postgres: EmbeddedPostgres, uri: str, folder: Path) -> None:
    """kill -9 in the middle: there is no backup, and the server doesn't go on sending one."""
    arguments = ("db", "backup", "--physical", "--rate", "1", "--to", str(folder))
    process = subprocess.Popen(
        [sys.executable, "-m", "mercenary", *arguments],
        env=os.environ | {"SQLALCHEMY_DATABASE_URI": uri},
    )

    def begun() -> bool:
        return any((each / BASE).exists() for each in unfinished(folder))

    with contextlib.ExitStack() as stack:
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert wait_until(begun, PATIENCE)
        assert senders(postgres) == "1"
    assert wait_until(lambda: senders(postgres) == "0", PATIENCE)
    assert postgres.slots() == {}
    (left,) = unfinished(folder)
    for command in (("verify",), ("restore", "--into", str(folder / "anything"))):
        result = invoke(*command, str(left))
        assert result.exit_code == 2
        assert "is no backup" in result.output
    shutil.rmtree(left)


async def test_who_may_not_copy_is_told_why_and_leaves_nothing(uri: str, folder: Path) -> None:
    async with connected(uri) as connection:
        await connection.execute(
            "CREATE ROLE plain LOGIN; GRANT SELECT ON alembic_version TO plain"
        )
    try:
        theirs = make_url(uri).set(username="plain").render_as_string(hide_password=False)
        result = await call("backup", "--physical", "--to", str(folder), uri=theirs)
    finally:
        async with connected(uri) as connection:
            await connection.execute("DROP OWNED BY plain; DROP ROLE plain")
    assert result.exit_code == 2
    assert "REPLICATION" in result.output or "replication" in result.output
    assert unfinished(folder) == []


def test_a_program_that_is_not_here_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SetupError, match=r"no pg_basebackup here .* install postgresql-client-99"):
        programs.client("pg_basebackup", 99)
    monkeypatch.setattr(programs, "_known", lambda *_: {Path("/18/pg_restore"): 18})
    with pytest.raises(SetupError, match=r"no pg_restore here .* install postgresql-client-16"):
        programs.client("pg_restore", 16)
    assert programs.client("pg_restore", 17) == Path("/18/pg_restore")
    with pytest.raises(SetupError, match=r"no postgres of PostgreSQL 99 .* install postgresql-99,"):
        programs.server("postgres", 99)


async def test_a_dump_takes_no_rate(uri: str, folder: Path) -> None:
    result = await call("backup", "--rate", "1", "--to", str(folder), uri=uri)
    assert result.exit_code == 2
    assert "--rate goes with --physical" in result.output
