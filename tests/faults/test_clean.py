"""`mercenary clean` as a process: killed in the middle, stopped, without its database."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import asyncpg
import pytest

from mercenary.local.stack import without_settings
from mercenary.local.supervisor import mercenary_command
from tests.db.conftest import connected
from tests.faults.conftest import PATIENCE, called, only_line

ACCOUNTS = 300
# Everybody left 31 days ago, and is still signed in somewhere, had bids and drafts.
LEAVERS = f"""
    INSERT INTO users (id, role, email, name, is_active, created_at, deactivated_at)
    SELECT n, 'client', n || '@example.com', 'Leaver', false, now() - interval '60 days',
           now() - interval '31 days'
    FROM generate_series(1, {ACCOUNTS}) n;
    INSERT INTO credentials (email, user_id, password_hash)
    SELECT email, id, '' FROM users;
    INSERT INTO sessions (user_id, id, expires_at)
    SELECT id, id, now() + interval '1 day' FROM users;
    INSERT INTO projects (id, client_id, client_name, status, currency, budget, title, description)
    SELECT id, id, name, 'draft', 'USD', 1, 'Draft', 'Draft' FROM users;
"""
EARLY_LEAVER = """
    INSERT INTO users (id, role, email, name, is_active, created_at, deactivated_at)
    VALUES (1, 'client', 'early@example.com', 'Leaver', false, now() - interval '60 days',
            now() - interval '31 days')
"""
# An account is whole, or nothing of it is left.
COUNTS = """
    SELECT (SELECT count(*) FROM users WHERE erased_at IS NOT NULL AND email IS NULL) AS erased,
           (SELECT count(*) FROM credentials) AS credentials,
           (SELECT count(*) FROM sessions) AS sessions,
           (SELECT count(*) FROM users WHERE name = 'Leaver') AS names
"""
Cleaner = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
async def database(database_uri: str) -> asyncpg.Connection:
    """A connection to the database that is cleaned, empty at first."""
    async with connected(database_uri) as connection:
        await connection.execute("TRUNCATE users CASCADE")
        yield connection


@pytest.fixture
def cleaner(database_uri: str) -> Iterator[Cleaner]:
    """Starts `mercenary clean` in small steps; whatever still runs is killed in the end."""
    started: list[subprocess.Popen[str]] = []
    environment = {
        **without_settings(),
        "SQLALCHEMY_DATABASE_URI": database_uri,
        "MERCENARY_CLEAN_ROWS": "50",
        "MERCENARY_CLEAN_PAUSE": "0.001",
    }

    def start(*arguments: str) -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen(
                mercenary_command("clean", *arguments),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def until(database: asyncpg.Connection, query: str) -> None:
    """Ask until the answer is yes."""
    deadline = time.monotonic() + PATIENCE
    while not await database.fetchval(query):
        assert time.monotonic() < deadline, query


async def test_a_cleaner_killed_in_the_middle_leaves_no_account_half_erased(
    database: asyncpg.Connection, cleaner: Cleaner
) -> None:
    await database.execute(LEAVERS)
    first = cleaner()
    await until(database, "SELECT count(*) > 20 FROM users WHERE erased_at IS NOT NULL")
    first.kill()
    first.communicate()
    left = await database.fetchrow(COUNTS)
    assert 20 < left["erased"] < ACCOUNTS
    assert left["credentials"] == left["sessions"] == left["names"] == ACCOUNTS - left["erased"]

    second = cleaner()
    out, _ = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0
    drafts = await database.fetchval("SELECT count(*) FROM projects")
    rest = 2 * (ACCOUNTS - left["erased"])  # each with a draft
    assert out == f"Rows dealt with: idempotency keys 0, sessions 0, accounts {rest}.\n"
    assert drafts == 0
    assert dict(await database.fetchrow(COUNTS)) == {
        "erased": ACCOUNTS,
        "credentials": 0,
        "sessions": 0,
        "names": 0,
    }
    assert cleaner().communicate(timeout=PATIENCE)[0].endswith("accounts 0.\n")


async def test_it_goes_on_when_its_connections_are_cut_and_ends_when_told(
    database: asyncpg.Connection, cleaner: Cleaner
) -> None:
    running = cleaner("--every", "0.1")
    others = (
        "FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'mercenary'"
    )
    # Whoever can't look at the schema when it starts ends; this one is past that.
    await database.execute(EARLY_LEAVER)
    await until(database, "SELECT count(*) = 1 FROM users WHERE erased_at IS NOT NULL")
    await database.execute("TRUNCATE users CASCADE")
    for _ in range(3):
        await until(database, f"SELECT count(*) > 0 {others}")
        await database.execute(f"SELECT pg_terminate_backend(pid) {others}")
    await database.execute(LEAVERS)
    await until(database, f"SELECT count(*) = {ACCOUNTS} FROM users WHERE erased_at IS NOT NULL")
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0
    assert "Traceback" not in said


def test_without_its_database_it_says_so_in_one_line() -> None:
    refused = called("clean", SQLALCHEMY_DATABASE_URI="postgresql://nobody@127.0.0.1:1/nothing")
    assert refused.returncode == 2
    assert "can't be reached" in only_line(refused.stderr)


async def test_a_schema_that_is_not_current_is_one_line(
    database: asyncpg.Connection, database_uri: str
) -> None:
    await database.execute("DELETE FROM alembic_version")
    refused = called("clean", SQLALCHEMY_DATABASE_URI=database_uri)
    assert refused.returncode == 2
    assert "mercenary migrate" in only_line(refused.stderr)
