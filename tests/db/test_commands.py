"""`mercenary token`, `admin`, `migrate` and `seed`, as somebody at a terminal calls them."""

import asyncio
import stat
from collections import Counter
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner, Result

from mercenary import settings
from mercenary.auth.passwords import hasher_of
from mercenary.auth.tokens import Verifier
from mercenary.cli import main
from mercenary.seeding.seed import seed
from tests.db.conftest import connected


@pytest.fixture(scope="module")
async def uri(database_uri: str) -> str:
    """A small marketplace."""
    await seed(database_uri, settings.get(), projects=1_000, seed=1, with_demo=True)
    return database_uri


async def _call(uri: str, *arguments: str, typed: str = "") -> Result:
    """Call the command in a thread, for it runs a loop of its own."""
    environment = {"SQLALCHEMY_DATABASE_URI": uri}
    return await asyncio.to_thread(
        CliRunner().invoke, main, arguments, input=typed, env=environment
    )


async def _row(uri: str, query: str, *arguments: object) -> asyncpg.Record:
    async with connected(uri) as connection:
        return await connection.fetchrow(query, *arguments)


async def test_a_token_names_its_user_and_a_living_session(uri: str) -> None:
    """It is printed alone, for use in a shell."""
    result = await _call(uri, "token", "--user", "2")
    caller = Verifier(settings.get()).verify(result.output.strip())
    assert (caller.user_id, caller.role) == (2, "client")
    query = "SELECT expires_at - created_at FROM sessions WHERE user_id = $1 AND id = $2"
    row = await _row(uri, query, caller.user_id, caller.session_id)
    assert row[0].total_seconds() == settings.get().access_token_seconds


async def test_many_tokens_go_to_a_file_of_their_owner(uri: str, tmp_path: Path) -> None:
    """More than there are users, over the roles as in the table, each with a session."""
    out = tmp_path / "tokens"
    result = await _call(uri, "token", "--count", "500", "--out", str(out), "--lifetime", "7200")
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    lines = [line.split("\t") for line in out.read_text().splitlines()]
    verifier = Verifier(settings.get())
    callers = [verifier.verify(token) for _, _, token in lines]
    assert [(str(each.user_id), each.role) for each in callers] == [
        (user_id, role) for user_id, role, _ in lines
    ]
    assert len({each.session_id for each in callers}) == 500
    roles = Counter(each.role for each in callers)
    assert set(roles) == {"client", "freelancer"}
    assert 0.2 < roles["client"] / 500 < 0.4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("token",), "--user N or --count K"),
        (("token", "--user", "1", "--count", "2"), "--user N or --count K"),
        (("token", "--user", "999999"), "no active user"),
        (("token", "--count", "1", "--out", "/nonexistent/file"), "can't be written"),
        (("admin", "add", "nobody"), "no e-mail address"),
        (("admin", "add", "new@example.com", "--name", "x" * 121), "--name"),
        (("seed", "--scale", "1k"), "not empty"),
    ],
)
async def test_what_can_not_be_done_is_one_line(
    uri: str, arguments: tuple[str, ...], words: str
) -> None:
    """With what to do, and exit code 2."""
    result = await _call(uri, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


async def test_an_admin_is_added_with_a_password_from_a_pipe(uri: str) -> None:
    """The address is kept as given, and found in lower case."""
    result = await _call(
        uri, "admin", "add", "Root@Example.com", "--name", "Root", typed="a fine long secret\n"
    )
    assert result.exit_code == 0, result.output
    query = """
        SELECT u.role, u.name, u.email, c.password_hash FROM credentials c
        JOIN users u ON u.id = c.user_id WHERE c.email = 'root@example.com'
    """
    row = await _row(uri, query)
    assert (row["role"], row["name"], row["email"]) == ("admin", "Root", "Root@Example.com")
    hasher = hasher_of(settings.get())
    assert await asyncio.to_thread(hasher.verify, row["password_hash"], "a fine long secret")


async def test_a_password_that_the_api_would_refuse_is_refused(uri: str) -> None:
    """And nobody is added."""
    result = await _call(uri, "admin", "add", "weak@example.com", typed="short\n")
    assert result.exit_code == 2
    assert "12 to 128" in result.stderr
    assert await _row(uri, "SELECT FROM credentials WHERE email = 'weak@example.com'") is None


async def test_an_account_becomes_an_admin_s_and_its_sessions_end(uri: str) -> None:
    """Tokens carry the old role, so they must not be of use any more."""
    await _call(uri, "token", "--user", "5")
    email = (await _row(uri, "SELECT email FROM users WHERE id = 5"))["email"]
    result = await _call(uri, "admin", "add", email)
    assert result.exit_code == 0, result.output
    row = await _row(uri, "SELECT role, version FROM users WHERE id = 5")
    assert (row["role"], row["version"]) == ("admin", 2)
    living = "SELECT count(*) FROM sessions WHERE user_id = 5 AND ended_at IS NULL"
    assert (await _row(uri, living))[0] == 0


async def test_an_admin_becomes_a_client_and_the_sessions_end(uri: str) -> None:
    """And nobody else becomes one by it."""
    email = (await _row(uri, "SELECT email FROM users WHERE id = 6"))["email"]
    role = "SELECT role FROM users WHERE id = 6"
    before = (await _row(uri, role))["role"]
    refused = await _call(uri, "admin", "remove", email)
    assert refused.exit_code == 2
    assert f"is a {before}'s" in refused.stderr
    assert (await _row(uri, role))["role"] == before
    await _call(uri, "admin", "add", email)
    await _call(uri, "token", "--user", "6")
    result = await _call(uri, "admin", "remove", email)
    assert result.exit_code == 0, result.output
    assert (await _row(uri, role))["role"] == "client"
    living = "SELECT count(*) FROM sessions WHERE user_id = 6 AND ended_at IS NULL"
    assert (await _row(uri, living))[0] == 0
    nobody = await _call(uri, "admin", "remove", "nobody@example.com")
    assert nobody.exit_code == 2
    assert "nobody has the address" in nobody.stderr


async def test_a_deactivated_account_becomes_no_admin(uri: str) -> None:
    """Whoever left doesn't come back by this door."""
    async with connected(uri) as connection:
        await connection.execute(
            "UPDATE users SET is_active = false, deactivated_at = now() WHERE id = 8"
        )
        email = await connection.fetchval("SELECT email FROM users WHERE id = 8")
    result = await _call(uri, "admin", "add", email)
    assert result.exit_code == 2
    assert "deactivated" in result.stderr


async def test_migrate_check_tells_what_is_pending(empty_uri: str) -> None:
    """By its exit code, too."""
    before = await _call(empty_uri, "migrate", "--check")
    assert (before.exit_code, "0001" in before.output) == (1, True)
    assert "0001" in (await _call(empty_uri, "migrate")).output
    after = await _call(empty_uri, "migrate", "--check")
    assert (after.exit_code, after.output) == (0, "The schema is current.\n")
    assert "Nothing" in (await _call(empty_uri, "migrate")).output


@pytest.mark.parametrize(
    "arguments",
    [("seed",), ("token", "--user", "1"), ("admin", "add", "a@example.com")],
    ids=lambda arguments: arguments[0],
)
async def test_commands_need_a_current_schema(empty_uri: str, arguments: tuple[str, ...]) -> None:
    """And say how to get it."""
    result = await _call(empty_uri, *arguments)
    assert result.exit_code == 2
    assert "mercenary migrate" in result.stderr
