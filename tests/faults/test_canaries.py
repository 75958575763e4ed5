"""Secrets stay out of logs, errors and traces, whatever breaks.

Canaries stand for passwords, tokens, addresses, the secret key and the database's password. They
are sent through every way to fail that is known, to a real `mercenary serve`; then all that it has
printed, what PostgreSQL has logged, and every refusal is searched for them.
"""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url

from mercenary.local.ports import hold_port
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.probe import http_answers
from mercenary.local.stack import without_settings
from mercenary.local.supervisor import mercenary_command
from tests.api.marketplace import run
from tests.faults.conftest import called, eventually
from tests.faults.faulty import FAULTS

ROOT = Path(__file__).parents[2]
CANARY = "kanarienvogel"
SECRET_KEY = f"{CANARY}-secret-key-of-forty-characters-or-more"
EMAIL = f"{CANARY}@example.com"
PASSWORD = f"{CANARY} password"
NEW_PASSWORD = f"{CANARY} other password"
BEARER = f"{CANARY}.bearer.token"
ACCOUNT = {"email": EMAIL, "password": PASSWORD, "name": "Ada", "role": "client"}
LOGIN = {"email": EMAIL, "password": PASSWORD}


class Served:
    """A `mercenary serve`: what it is asked, what it refuses, and what it says."""

    def __init__(self, output: Path, url: str, database_log: Path) -> None:
        self.output = output
        self._database_log = database_log
        self._logged_before = len(database_log.read_text())
        self.client = httpx.AsyncClient(base_url=url, timeout=30)
        self.canaries = {CANARY}
        self.refusals: list[httpx.Response] = []

    @property
    def said(self) -> str:
        """All that it has printed."""
        return self.output.read_text(errors="replace")

    @property
    def logged(self) -> list[dict[str, Any]]:
        """The events in what it has printed."""
        lines = [line for line in self.said.splitlines() if line.startswith("{")]
        return [json.loads(line) for line in lines]

    @property
    def database_log(self) -> str:
        """All that PostgreSQL has logged since."""
        return self._database_log.read_text()[self._logged_before :]

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask, and keep what was refused."""
        answer = await self.client.request(method, path, **options)
        if not answer.is_success:
            self.refusals.append(answer)
        return answer

    async def post(self, path: str, body: Any, token: str = "") -> httpx.Response:
        """POST JSON below the base path."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.ask("POST", f"/api/v1{path}", json=body, headers=headers)

    async def sign_in(self) -> tuple[str, str]:
        """A pair of tokens, which are canaries from now on."""
        answer = await self.post("/auth/login", LOGIN)
        assert answer.status_code == 200, answer.text
        pair = answer.json()["access_token"], answer.json()["refresh_token"]
        self.canaries |= {*pair, pair[0].rpartition(".")[2]}
        return pair

    def event_of(self, answer: httpx.Response) -> dict[str, Any]:
        """What the log tells of a request, as it does of each that failed on our side."""
        id = answer.headers["x-request-id"]
        found: list[dict[str, Any]] = []

        def is_logged() -> bool:
            found[:] = [event for event in self.logged if event.get("request_id") == id]
            return bool(found)

        eventually(is_logged, f"{id} is in the log")
        return found[0]


@pytest.fixture(scope="module")
async def served(
    database_uri: str, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    password = f"{CANARY}-database"
    await run(database_uri, f"CREATE ROLE canary SUPERUSER LOGIN PASSWORD '{password}'")
    uri = make_url(database_uri).set(username="canary", password=password)
    output = tmp_path_factory.mktemp("canaries") / "serve.log"
    with hold_port("127.0.0.1", 0) as port:
        process = serve(port, uri.render_as_string(hide_password=False), output)
        served = Served(output, f"http://127.0.0.1:{port}", postgres.child.log)
        try:
            where = ("127.0.0.1", port)
            eventually(lambda: http_answers(*where) or process.poll() is not None, "it answers")
            assert process.poll() is None, served.said
            assert (await served.post("/auth/register", ACCOUNT)).status_code == 201
            yield served
        finally:
            await served.client.aclose()
            process.terminate()
            process.wait(30)
            await run(postgres.uri, "DROP ROLE canary")


def serve(port: int, uri: str, output: Path) -> subprocess.Popen[bytes]:
    """Start the faulty application, with secrets in its settings."""
    # Nothing answers there: what is said of that is what is looked at.
    cache = {"default": {"CACHE_REDIS_URL": f"redis://:{CANARY}-cache@127.0.0.1:1/0"}}
    environment = {
        **without_settings(),
        "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))),
        "MERCENARY_LOG_LEVEL": "debug",
        "MERCENARY_SECRET_KEY": SECRET_KEY,
        "MERCENARY_LOCK_TIMEOUT": "1",
        "SQLALCHEMY_DATABASE_URI": uri,
        "CACHE_CONFIG": json.dumps(cache),
    }
    target = ("--target", "tests.faults.faulty:create_app")
    with output.open("wb") as out:
        return subprocess.Popen(
            mercenary_command("serve", "--port", str(port), "--workers", "1", *target),
            stdout=out,
            stderr=out,
            env=environment,
            cwd=output.parent,
        )


def refusals(pair: tuple[str, str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests full of secrets that are refused for all kinds of reasons."""
    access, refresh = pair
    signed_in = {"Authorization": f"Bearer {access}"}
    for body in (
        {"email": EMAIL, "password": NEW_PASSWORD},
        {"email": f"nobody-{EMAIL}", "password": PASSWORD},
        {"email": [EMAIL], "password": {"is": PASSWORD}},
        {"email": EMAIL, "password": PASSWORD * 10},
        {"email": EMAIL, "password": f"\0{PASSWORD}"},
        {"email": EMAIL, "password": PASSWORD, "again": PASSWORD},
        [EMAIL, PASSWORD],
        f"{EMAIL} {PASSWORD}",
    ):
        yield "POST", "/auth/login", {"json": body}
    for content in (
        f'{{"email": "{EMAIL}", "password": "{PASSWORD}", '.encode(),
        f'{{"email": "{EMAIL}", "password": "{PASSWORD}\xff"}}'.encode("latin-1"),
        f'{{"password": {"[" * 40}"{PASSWORD}"{"]" * 40}}}'.encode(),
    ):
        headers = {"Content-Type": "application/json"}
        yield "POST", "/auth/login", {"content": content, "headers": headers}
    yield "POST", "/auth/login", {"data": LOGIN}
    yield "DELETE", "/auth/login", {}
    for changes in (
        {},
        {"email": f"{EMAIL} "},
        {"password": CANARY[:11]},
        {"password": CANARY * 12},
        {"role": PASSWORD},
        {"name": PASSWORD * 20},
    ):
        yield "POST", "/auth/register", {"json": ACCOUNT | changes}
    for change in ({"current": NEW_PASSWORD, "new": NEW_PASSWORD}, {"current": 1, "new": CANARY}):
        yield "POST", "/auth/password", {"json": change, "headers": signed_in}
    for token in (BEARER, f"{CANARY}-refresh", access, f"{refresh}A"):
        yield "POST", "/auth/refresh", {"json": {"refresh_token": token}}
    for credentials in (
        f"Bearer {BEARER}",
        f"Bearer {access}A",
        f"Bearer {refresh}",
        f"Basic {CANARY}",
        f"Bearer {access}, Bearer {access}",
        CANARY,
    ):
        yield "GET", "/users/me", {"headers": {"Authorization": credentials}}
    for headers in ({"Cookie": f"session={CANARY}"}, {"X-Api-Key": CANARY}):
        yield "GET", "/users/me", {"headers": headers}
    for path in (
        f"/users/me?access_token={BEARER}",
        f"/projects?token={CANARY}",
        f"/projects?cursor={CANARY}",
        f"/projects?sort={CANARY}",
        f"/projects?limit={CANARY}",
        f"/nowhere?token={BEARER}",
    ):
        yield "GET", path, {}


def assert_discreet(served: Served) -> None:
    """No canary is in what was printed, in what PostgreSQL has logged, or in what was refused."""
    told = {"the log": served.said, "PostgreSQL's log": served.database_log}
    for answer in served.refusals:
        told[f"{answer.request.url} {answer.status_code}"] = f"{answer.text}{answer.headers}"
    found = {
        (canary, where)
        for where, text in told.items()
        for canary in served.canaries
        if canary in text
    }
    assert found == set()


async def test_what_is_refused_quotes_nothing(served: Served) -> None:
    pair = await served.sign_in()
    for method, path, options in refusals(pair):
        answer = await served.ask(method, f"/api/v1{path}", **options)
        assert 400 <= answer.status_code < 500, (path, options, answer.text)
    assert_discreet(served)


async def test_a_token_that_ended_is_quoted_nowhere(served: Served) -> None:
    access, refresh = await served.sign_in()
    renewed = await served.post("/auth/refresh", {"refresh_token": refresh})
    served.canaries |= {renewed.json()["access_token"], renewed.json()["refresh_token"]}
    for _ in range(2):
        assert (await served.post("/auth/refresh", {"refresh_token": refresh})).status_code == 401
        assert (await served.post("/auth/logout", None, token=access)).status_code == 401
    assert_discreet(served)


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_unforeseen_error_is_logged_without_what_it_holds(
    served: Served, fault: str
) -> None:
    answer = await served.post(f"/faults/{fault}", LOGIN)
    assert (answer.status_code, answer.json().get("detail")) == (500, None)
    event = served.event_of(answer)
    assert event["event"] == "unforeseen error"
    assert fault in event["exception"]  # the way to it is told, in frames and lines of source
    assert_discreet(served)


async def test_a_table_that_is_missing_is_logged_without_what_was_asked_of_it(
    served: Served, database_uri: str
) -> None:
    pair = await served.sign_in()
    for table, ask in (
        ("credentials", ("/auth/login", LOGIN)),
        ("credentials", ("/auth/register", ACCOUNT | {"email": f"2{EMAIL}"})),
        ("refresh_tokens", ("/auth/refresh", {"refresh_token": pair[1]})),
        ("sessions", ("/auth/logout", {})),
    ):
        await run(database_uri, f"ALTER TABLE {table} RENAME TO away")
        answer = await served.post(*ask, token=pair[0])
        await run(database_uri, f"ALTER TABLE away RENAME TO {table}")
        assert answer.status_code == 500, answer.text
        assert table in served.event_of(answer)["exception"]
    assert_discreet(served)


async def test_a_database_that_lets_nobody_in_is_told_of_without_its_password(
    served: Served, database_uri: str
) -> None:
    await run(database_uri, "ALTER ROLE canary NOLOGIN")
    await run(
        database_uri,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'canary'",
    )
    answer = await served.post("/auth/login", LOGIN)
    await run(database_uri, "ALTER ROLE canary LOGIN")
    assert answer.status_code in (500, 503)
    assert served.event_of(answer)
    await served.sign_in()
    assert_discreet(served)


async def test_statements_that_wait_are_logged_without_their_parameters(
    served: Served, database_uri: str
) -> None:
    """One until it is given up, one until PostgreSQL calls it slow."""
    hold = f"SELECT FROM credentials WHERE email = '{EMAIL}' FOR UPDATE"
    # Another connection looks on: within a transaction what is seen of others stays the same.
    holder, observer = await asyncpg.connect(database_uri), await asyncpg.connect(database_uri)
    try:
        async with holder.transaction():
            await holder.execute(hold)
            answer = await served.post("/auth/login", LOGIN)
            assert answer.status_code == 503
            assert served.event_of(answer)
        async with holder.transaction():
            await holder.execute(hold)
            signing_in = asyncio.create_task(served.sign_in())
            while not await observer.fetchval(
                "SELECT true FROM pg_stat_activity WHERE usename = 'canary' AND state = 'active'"
                " AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > '0.4 s'"
            ):
                assert not signing_in.done()
        await signing_in
    finally:
        await holder.close()
        await observer.close()
    # PostgreSQL would tell the parameters with the execution.
    slow = re.compile(r"duration: [\d.]+ ms  execute [^\n]*credentials")
    eventually(lambda: slow.search(served.database_log), "the slow one is logged")
    assert_discreet(served)


DEAD = f"postgresql://ada:{CANARY}@127.0.0.1:1/market"
BROKEN = (
    f"postgresql://ada:{CANARY}@127.0.0.1:port/market",
    f"postgresql://ada:{CANARY}@[::1/market",
    f"postgresql://ada:{CANARY}@/market?host=/nowhere&sslmode=maybe",
    f"mysql://ada:{CANARY}@127.0.0.1:1/market",
)
COMMANDS = (
    "up --port 0",
    "migrate",
    "seed",
    "settings",
    "status",
    "clean",
    "admin add a@example.com",
)


@pytest.mark.parametrize(
    ("command", "uri"),
    [*((command, DEAD) for command in COMMANDS), *(("migrate", uri) for uri in BROKEN)],
)
def test_commands_name_no_secret_of_their_settings(command: str, uri: str, tmp_path: Path) -> None:
    done = called(
        *command.split(),
        SQLALCHEMY_DATABASE_URI=uri,
        CACHE_CONFIG=f'{{"default": {{"CACHE_REDIS_URL": "redis://:{CANARY}@127.0.0.1:1/0"}}}}',
        CELERY_BROKER_URL=f"redis://:{CANARY}@127.0.0.1:1/1",
        MERCENARY_SECRET_KEY=SECRET_KEY,
        MERCENARY_DATA=str(tmp_path / "data"),
    )
    assert done.stdout + done.stderr
    assert CANARY not in done.stdout + done.stderr
