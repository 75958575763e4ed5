"""`mercenary db backup`, `verify` and `restore`: a backup is proven, or said not to be."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner, Result

from mercenary import settings
from mercenary.cli import main
from mercenary.ops.backups.dumps import DUMP
from mercenary.ops.backups.folders import MANIFEST
from mercenary.seeding.seed import seed
from tests.db.conftest import connected


@pytest.fixture(scope="module")
async def uri(database_uri: str) -> str:
    """A small marketplace."""
    await seed(database_uri, settings.get(), projects=300, seed=1, with_demo=True)
    return database_uri


async def call(uri: str, *arguments: str) -> Result:
    """Call a command in a thread, for it runs a loop of its own."""
    environment = {"SQLALCHEMY_DATABASE_URI": uri}
    return await asyncio.to_thread(CliRunner().invoke, main, ("db", *arguments), env=environment)


async def backed_up(uri: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    result = await call(uri, "backup", "--to", str(folder), "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output)
    return Path(answer["folder"]), answer["manifest"]


async def databases(uri: str) -> set[str]:
    async with connected(uri) as connection:
        return {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_backup_is_proven_by_restoring_it(uri: str, tmp_path: Path) -> None:
    before = await databases(uri)
    backup, manifest = await backed_up(uri, tmp_path)
    async with connected(uri) as connection:
        for table in ("users", "projects", "proposals", "skills"):
            count = await connection.fetchval(f"SELECT count(*) FROM {table}")
            assert manifest["rows"][table] == count > 0
    result = await call(uri, "verify", str(backup), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["proven"] is True
    assert await databases(uri) == before
    assert names_in(tmp_path) == [backup.name]


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
async def test_a_single_changed_bit_is_found(uri: str, tmp_path: Path, where: float) -> None:
    backup, _ = await backed_up(uri, tmp_path)
    dump = bytearray((backup / DUMP).read_bytes())
    dump[int(len(dump) * where)] ^= 1
    (backup / DUMP).write_bytes(dump)
    result = await call(uri, "verify", str(backup))
    assert result.exit_code == 1
    assert "is NOT proven: database.dump isn't what it was" in result.output
    refused = await call(uri, "restore", str(backup), "--into", "from_a_bad_one")
    assert refused.exit_code == 2
    assert "from_a_bad_one" not in await databases(uri)


async def test_rows_that_are_missing_are_found(uri: str, tmp_path: Path) -> None:
    """As if the dump had been made at another moment than the count."""
    backup, manifest = await backed_up(uri, tmp_path)
    manifest["rows"]["projects"] += 1
    (backup / MANIFEST).write_text(json.dumps(manifest))
    result = await call(uri, "verify", str(backup))
    assert result.exit_code == 1
    wanted = manifest["rows"]["projects"]
    assert f"projects has {wanted - 1}, and had {wanted}" in result.output


async def test_what_was_cut_off_is_no_backup(uri: str, tmp_path: Path) -> None:
    (tmp_path / ".making-x").mkdir()
    (tmp_path / ".making-x" / DUMP).write_bytes(b"PGDMP")
    for command in (("verify",), ("restore", "--into", "anything")):
        result = await call(uri, *command, str(tmp_path / ".making-x"))
        assert result.exit_code == 2
        assert "is no backup" in result.output


async def test_a_backup_that_fails_leaves_nothing_behind(uri: str, tmp_path: Path) -> None:
    async with connected(uri) as connection:
        await connection.execute("CREATE ROLE reader LOGIN")
    as_reader = uri.replace("mercenary@", "reader@", 1)
    result = await call(as_reader, "backup", "--to", str(tmp_path))
    assert result.exit_code == 2
    assert "permission denied" in result.output
    assert names_in(tmp_path) == []
    async with connected(uri) as connection:
        await connection.execute("DROP ROLE reader")


async def test_a_restored_database_has_it_all_and_none_is_written_over(
    uri: str, tmp_path: Path
) -> None:
    backup, manifest = await backed_up(uri, tmp_path)
    result = await call(uri, "restore", str(backup), "--into", "restored_here")
    assert result.exit_code == 0, result.output
    address = result.output.strip().rsplit("SQLALCHEMY_DATABASE_URI=", 1)[1]
    async with connected(address) as connection:
        count = await connection.fetchval("SELECT count(*) FROM proposals")
        assert count == manifest["rows"]["proposals"]
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await connection.execute("DELETE FROM skills")
    assert (await call(address, "sizes")).exit_code == 0
    again = await call(uri, "restore", str(backup), "--into", "restored_here")
    assert again.exit_code == 2
    assert "nothing is ever restored over another" in again.output
    async with connected(uri) as connection:
        await connection.execute("DROP DATABASE restored_here WITH (FORCE)")
