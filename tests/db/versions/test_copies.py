"""A copy of a server whose programs are not embedded ones; all else of copies is tested on 18."""

import asyncio

import pytest
from click.testing import CliRunner, Result

from mercenary.cli import main
from mercenary.local.postgres import EmbeddedPostgres
from tests.conftest import server_folder


async def call(uri: str, *arguments: str) -> Result:
    environment = {"SQLALCHEMY_DATABASE_URI": uri}
    return await asyncio.to_thread(CliRunner().invoke, main, ("db", *arguments), env=environment)


@pytest.mark.parametrize("postgres", ["other"], indirect=True)
async def test_a_copy_is_proven_and_restored_by_the_programs_of_its_version(
    postgres: EmbeddedPostgres, database_uri: str
) -> None:
    version = postgres.run_sql("SHOW server_version").partition(" ")[0]
    major = version.partition(".")[0]
    with server_folder() as folder:
        result = await call(database_uri, "backup", "--physical", "--to", str(folder))
        assert result.exit_code == 0, result.output
        assert f": PostgreSQL {version}" in result.output
        (made,) = folder.iterdir()
        result = await call(database_uri, "verify", str(made))
        assert result.exit_code == 0, result.output
        assert f"a PostgreSQL {major} that ran on it agrees" in result.output
        result = await call(database_uri, "restore", str(made), "--into", str(folder / "restored"))
        assert result.exit_code == 0, result.output
        assert f"postgres -D {folder / 'restored'}" in result.output
