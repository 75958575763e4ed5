"""The lint that keeps SQL where it belongs finds it anywhere else."""

from pathlib import Path

import pytest

from tools.check_sql import faults_below, faults_in, main


@pytest.mark.parametrize(
    "source",
    [
        "from sqlalchemy import select",
        "from sqlalchemy import Table, func",
        "from sqlalchemy.dialects.postgresql import insert",
        "import sqlalchemy as sa",
        "import sqlalchemy.sql",
        "async def f(db, q): await db.execute(q)",
        "rows = db.scalars(q)",
        "q = 'SELECT id FROM users'",
        "q = '''\n  SELECT id\n  FROM users'''",
        "q = f'DELETE FROM {table}'",
        "q = 'UPDATE users SET name = $1'",
        "q = 'INSERT INTO users VALUES (1)'",
        "q = 'WITH recent AS (SELECT 1) SELECT 2'",
        "q = 'CREATE DATABASE mercenary'",
        "q = 'SELECT pg_sleep(1)'",
    ],
)
def test_sql_is_found(source: str) -> None:
    assert len(list(faults_in(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from sqlalchemy.exc import DBAPIError",
        "from sqlalchemy.ext.asyncio import AsyncConnection",
        "async def f(pipe): await pipe.execute()",
        "def f():\n    '''SELECT id FROM users is what it does.'''",
        "'''Update the set of names.'''",
        "hint = 'Select a plan from the list'",
        "title = 'Create a project'",
        "from mercenary.users.queries import select_users",
    ],
)
def test_what_is_no_sql_passes(source: str) -> None:
    assert list(faults_in(source)) == []


def test_only_queries_tables_and_database_packages_may_hold_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("users/queries.py", "users/tables.py", "db/engine.py", "users/service.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("\nfrom sqlalchemy import select\n")
    service = tmp_path / "users" / "service.py"
    assert list(faults_below(tmp_path)) == [f"{service}:2: imports select of sqlalchemy"]
    assert main([str(tmp_path)]) == 1
    assert "queries.py" in capsys.readouterr().out
    service.unlink()
    assert main([str(tmp_path)]) == 0
