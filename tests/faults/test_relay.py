"""`mercenary relay` as a process: killed, stopped and left alone at the worst moments."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from mercenary.cache import announcer
from mercenary.cache.valkey import redis_url
from mercenary.local.stack import without_settings
from mercenary.local.supervisor import mercenary_command
from mercenary.local.valkey import EmbeddedValkey
from tests.conftest import server_folder
from tests.db.conftest import connected
from tests.faults.conftest import PATIENCE, called, only_line

Start = Callable[..., "subprocess.Popen[str]"]
TELL = """
    INSERT INTO outbox (id, key, stamp, version, name, subject, tags)
    SELECT nextval('outbox_id_seq'), n, n, 1, 'project.updated', 'project:' || n, 'project:' || n
    FROM generate_series($1::bigint, $2::bigint) n
"""
# The relays' turns: who has one, and does nothing with it.
IN_A_TURN = """
    SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND datname = current_database() AND state LIKE 'idle in%'
"""


@pytest.fixture
async def database(database_uri: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database of the outbox, which is empty at first."""
    async with connected(database_uri) as connection:
        await connection.execute("DELETE FROM outbox")
        yield connection


@pytest.fixture
def start(database_uri: str, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Start]:
    """Starts relays that hardly pause; whatever still runs is killed in the end."""
    started: list[subprocess.Popen[str]] = []

    def begin(
        cache_config: str = valkey.cache_config, **environment: str
    ) -> "subprocess.Popen[str]":
        settings = {
            "SQLALCHEMY_DATABASE_URI": database_uri,
            "CACHE_CONFIG": cache_config,
            "MERCENARY_RELAY_PAUSE": "0.001",
            "MERCENARY_CRASH_POINTS": str(tmp_path),
        }
        started.append(
            subprocess.Popen(
                mercenary_command("relay"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=without_settings() | settings | environment,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


class Heard:
    """The stamps of all changes that a host would have heard of."""

    def __init__(self, valkey: EmbeddedValkey) -> None:
        self.stamps: list[int] = []
        self._redis = Redis.from_url(redis_url(valkey.url()))
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Heard":
        subscription = self._redis.pubsub()
        await subscription.subscribe(announcer.CHANNEL)

        async def listen() -> None:
            async for message in subscription.listen():
                if message["type"] == "message":
                    told = announcer.read(message["data"]).told
                    self.stamps.extend(stamp for stamp, _ in told)

        self._task = asyncio.create_task(listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
        await self._redis.aclose()

    async def all_of(self, first: int, last: int) -> None:
        """Wait until all of these have been heard of."""
        await self.until(lambda: {*range(first, last + 1)} <= {*self.stamps})

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.005)


@pytest.fixture
async def heard(valkey: EmbeddedValkey) -> AsyncIterator[Heard]:
    async with Heard(valkey) as listening:
        yield listening


async def until(database: asyncpg.Connection, query: str, expected: object = True) -> None:
    """Ask until the answer is this."""
    async with asyncio.timeout(PATIENCE):
        while await database.fetchval(query) != expected:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.005)


async def emptied(database: asyncpg.Connection) -> None:
    await until(database, "SELECT count(*) = 0 FROM outbox")


async def test_a_relay_killed_between_announcing_and_its_commit_has_its_rows_announced_again(
    start: Start, database: asyncpg.Connection, heard: Heard, tmp_path: Path
) -> None:
    (tmp_path / "after-handing-on").touch()
    first = start()
    await database.execute(TELL, 1, 10)
    assert first.wait(PATIENCE) == -signal.SIGKILL
    await heard.all_of(1, 10)
    await until(database, "SELECT count(*) FROM outbox", 10)
    assert len(heard.stamps) == 10
    start()
    await emptied(database)
    await heard.until(lambda: len(heard.stamps) == 20)
    assert heard.stamps == [*range(1, 11)] * 2


async def test_others_take_over_from_one_that_is_killed(
    start: Start, database: asyncpg.Connection, heard: Heard
) -> None:
    relays = [start() for _ in range(3)]
    await until(
        database,
        "SELECT count(*) >= 3 FROM pg_stat_activity WHERE query ~ 'outbox'"
        " AND application_name = 'mercenary' AND datname = current_database()",
    )
    for number, relay in enumerate([*relays[1:], None]):
        first = 1 + number * 1000
        await database.execute(TELL, first, first + 499)
        if relay is not None:
            relay.kill()
        await database.execute(TELL, first + 500, first + 999)
        await heard.all_of(first, first + 999)
        await emptied(database)


async def test_one_that_is_stopped_in_its_turn_loses_it_and_goes_on_when_continued(
    start: Start, database: asyncpg.Connection, heard: Heard
) -> None:
    stopped = start(MERCENARY_RELAY_TURN="0.5")
    await database.execute(TELL, 1, 1)
    await heard.all_of(1, 1)
    last = 1
    async with asyncio.timeout(PATIENCE):
        while True:  # until it is stopped where it has the turn
            await database.execute(TELL, last + 1, last + 100)
            last += 100
            stopped.send_signal(signal.SIGSTOP)
            if await database.fetchval(IN_A_TURN):
                break
            stopped.send_signal(signal.SIGCONT)
    other = start(MERCENARY_RELAY_TURN="0.5")
    await emptied(database)
    await heard.all_of(1, last)

    other.kill()
    stopped.send_signal(signal.SIGCONT)
    await database.execute(TELL, last + 1, last + 100)
    await heard.all_of(1, last + 100)
    await emptied(database)
    stopped.terminate()
    _, said = stopped.communicate(timeout=PATIENCE)
    assert stopped.returncode == 0
    assert "Traceback" not in said


async def test_rows_wait_for_a_valkey_that_is_away_and_are_announced_when_it_is_back(
    start: Start, database: asyncpg.Connection
) -> None:
    with server_folder() as folder:
        server = EmbeddedValkey(folder)
        server.start()
        relay = start(server.cache_config)
        await database.execute(TELL, 1, 1)
        await emptied(database)
        server.stop()
        await database.execute(TELL, 2, 501)
        # Long enough for it to have tried: its log tells, and what it took it would have deleted.
        assert relay.stderr is not None
        said = await asyncio.to_thread(relay.stderr.readline)
        while "the relay waits" not in said:
            said = await asyncio.to_thread(relay.stderr.readline)
        assert await database.fetchval("SELECT count(*) FROM outbox") == 500
        server.start()
        async with Heard(server) as heard:
            await emptied(database)
            await heard.all_of(2, 501)
        relay.terminate()
        _, rest = relay.communicate(timeout=PATIENCE)
        server.stop()
    assert relay.returncode == 0
    assert "the relay waits" not in rest
    assert "the relay works again" in rest


async def test_it_ends_when_told_and_leaves_nothing_that_it_took(
    start: Start, database: asyncpg.Connection, heard: Heard
) -> None:
    relay = start()
    await database.execute(TELL, 1, 100)
    await heard.all_of(1, 1)
    relay.terminate()
    _, said = relay.communicate(timeout=PATIENCE)
    assert relay.returncode == 0
    assert "Traceback" not in said
    left = {row["stamp"] for row in await database.fetch("SELECT stamp FROM outbox")}
    assert {*heard.stamps} | left == {*range(1, 101)}
    assert not {*heard.stamps} & left


def test_without_its_database_it_says_so_in_one_line() -> None:
    refused = called("relay", SQLALCHEMY_DATABASE_URI="postgresql://nobody@127.0.0.1:1/nothing")
    assert refused.returncode == 2
    assert "can't be reached" in only_line(refused.stderr)


async def test_a_schema_that_is_not_current_is_one_line(
    database: asyncpg.Connection, database_uri: str
) -> None:
    version = await database.fetchval("DELETE FROM alembic_version RETURNING version_num")
    refused = called("relay", SQLALCHEMY_DATABASE_URI=database_uri)
    await database.execute("INSERT INTO alembic_version VALUES ($1)", version)
    assert refused.returncode == 2
    assert "mercenary migrate" in only_line(refused.stderr)
