"""Standbys beside the embedded database: real servers that stream, die, come back and go."""

import asyncio
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import asyncpg
import httpx
import pytest
from click.testing import CliRunner

from mercenary.cli import main
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.stack import Stack
from mercenary.local.state import Service
from tests.factories import PASSWORD, new_account, new_project
from tests.faults.conftest import Starter, called, eventually, only_line

MEMBERS = ("postgres", "replica-1", "replica-2")
WRITERS = 4
RECOVERY_SECONDS = 30.0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(workers=1, replicas=2, synchronous=1) as stack:
        run(stack.database_uri, "CREATE TABLE written (number integer)")
        yield stack


def run(uri: str, statement: str) -> str:
    """Run one statement; its first value as text."""

    async def value() -> str:
        connection = await asyncpg.connect(uri, timeout=20)
        try:
            return str(await connection.fetchval(statement))
        finally:
            await connection.close()

    return asyncio.run(value())


def service(stack: Stack, name: str) -> Service:
    return next(each for each in stack.state.services if each.name == name)


def count_on(stack: Stack, name: str) -> int:
    return int(run(service(stack, name).address, "SELECT count(*) FROM written"))


def shows_rows(stack: Stack, name: str) -> bool:
    """Whether a server that may be starting shows what was written."""
    try:
        return count_on(stack, name) > 0
    except (OSError, asyncpg.PostgresError):
        return False


def kill(stack: Stack, name: str) -> None:
    """Kill a server's first process, and wait until another has taken its place."""
    former = service(stack, name).mark
    assert former is not None
    os.kill(former.pid, signal.SIGKILL)
    eventually(
        lambda: service(stack, name).restarts and service(stack, name).mark not in (None, former),
        f"{name} runs again",
    )


def test_a_standby_shows_what_the_primary_commits_and_takes_no_writes(stack: Stack) -> None:
    run(stack.database_uri, "INSERT INTO written VALUES (1)")
    for name in ("replica-1", "replica-2"):
        address = service(stack, name).address
        eventually(partial(shows_rows, stack, name), "it is replayed")
        assert run(address, "SELECT pg_is_in_recovery()") == "True"
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            run(address, "INSERT INTO written VALUES (2)")


def test_status_says_how_far_behind_a_standby_is(stack: Stack) -> None:
    def behind(name: str) -> int | None:
        told = CliRunner().invoke(main, ["status", "--data", str(stack.folder), "--json"])
        (row,) = (each for each in json.loads(told.stdout)["services"] if each["name"] == name)
        assert told.exit_code == 0, told.stdout
        assert row["follows"] is (None if name == "postgres" else True)
        return None if row["lag_bytes"] is None else int(row["lag_bytes"])

    address = service(stack, "replica-2").address
    run(address, "SELECT pg_wal_replay_pause()")
    run(stack.database_uri, "INSERT INTO written VALUES (2)")
    eventually(lambda: behind("replica-2"), "it is behind")
    run(address, "SELECT pg_wal_replay_resume()")
    eventually(lambda: behind("replica-2") == 0, "it has caught up")
    assert behind("postgres") is None


def test_a_commit_waits_for_a_quorum_of_the_standbys(stack: Stack) -> None:
    found = run(stack.database_uri, "SELECT string_agg(sync_state, ',') FROM pg_stat_replication")
    assert found == "quorum,quorum"
    assert run(stack.database_uri, "SHOW synchronous_commit") == "on"


def test_a_standby_that_is_killed_comes_back_and_catches_up(stack: Stack) -> None:
    kill(stack, "replica-1")
    before = count_on(stack, "postgres")
    run(stack.database_uri, "INSERT INTO written VALUES (3)")
    eventually(partial(shows, stack, "replica-1", before + 1), "it has caught up")


def test_a_primary_that_is_killed_under_load_is_replaced_at_once_and_follows_then(
    stack: Stack,
) -> None:
    """Nothing that was acknowledged is lost, and clients find who takes the writes."""
    former = stack.state.primary
    with written_on_while(stack) as goes_on:
        kill(stack, former)
        goes_on()
    assert not (stack.folder / "postgres.former").exists()  # it was rewound, not copied
    is_led_by_one(stack)
    rows = count_on(stack, stack.state.primary)
    eventually(partial(shows, stack, former, rows), "it follows")


def test_a_promotion_at_rest_holds_later_and_fewer_standbys_leave_neither_files_nor_slots(
    up: Starter, data: Path
) -> None:
    running = up("--workers", "2", "--replicas", "2").until_ready()
    run(running.state.database_uri, "CREATE TABLE written AS SELECT 1 AS number")
    killed = running.mark("postgres")
    assert killed is not None
    os.kill(killed.pid, signal.SIGKILL)
    # Without synchronous standbys its own disk alone has all that was acknowledged.
    eventually(lambda: running.mark("postgres") not in (None, killed), "it is started again")
    assert running.state.primary == "postgres"
    assert running.stop() == 0
    told = called("db", "promote", "replica-2", MERCENARY_DATA=str(data))
    assert told.returncode == 0, told.stderr
    takes_no_writes(data)
    # Fewer workers need fewer connections, which a standby takes only from its primary's log.
    running = up("--workers", "1", "--replicas", "1").until_ready()
    assert running.state.primary == "replica-2"
    run(running.state.database_uri, "INSERT INTO written VALUES (2)")
    slots = "SELECT string_agg(slot_name, ',') FROM pg_replication_slots"
    assert run(running.state.database_uri, slots) == "postgres"
    assert run(running.state.database_uri, "SELECT sum(number) FROM written") == "3"
    assert not (data / "replica-1").exists()


def test_standbys_that_cannot_be_had_are_refused_by_one_line(data: Path) -> None:
    few = called("up", "--data", str(data), "--replicas", "1", "--synchronous", "2")
    assert few.returncode == 2
    assert "--synchronous" in only_line(few.stderr)
    yours = {"SQLALCHEMY_DATABASE_URI": "postgresql://localhost/yours"}
    foreign = called("up", "--data", str(data), "--replicas", "1", **yours)
    assert foreign.returncode == 2
    assert "MERCENARY_REPLICA_URIS" in only_line(foreign.stderr)


def test_a_promoted_standby_takes_the_writes_and_the_others_follow(stack: Stack) -> None:
    before = count_on(stack, "postgres")
    told = called("db", "promote", "replica-2", MERCENARY_DATA=str(stack.folder))
    assert told.returncode == 0, told.stderr + stack.said
    assert stack.state.primary == "replica-2"
    run(stack.database_uri, "INSERT INTO written VALUES (5)")
    for name in ("postgres", "replica-1"):
        eventually(partial(shows, stack, name, before + 1), f"{name} follows")
        assert run(service(stack, name).address, "SELECT pg_is_in_recovery()") == "True"


def test_one_that_follows_nobody_is_not_promoted_and_nobody_is_interrupted(stack: Stack) -> None:
    former = service(stack, stack.state.primary)
    name = next(each for each in MEMBERS if each != former.name)
    address = service(stack, name).address
    run(address, "ALTER SYSTEM SET primary_conninfo = ''")
    run(address, "SELECT pg_reload_conf()")
    receiving = "SELECT count(*) FROM pg_stat_wal_receiver"
    eventually(lambda: run(address, receiving) == "0", "it follows nobody")
    told = called("db", "promote", name, MERCENARY_DATA=str(stack.folder))
    assert told.returncode == 2
    assert f"{name} can't be promoted: it doesn't follow" in only_line(told.stderr)
    assert service(stack, former.name).mark == former.mark
    run(address, "ALTER SYSTEM RESET primary_conninfo")
    run(address, "SELECT pg_reload_conf()")
    eventually(lambda: run(address, receiving) == "1", "it follows again")


def test_when_the_primary_loses_its_files_callers_go_on_and_it_is_copied(stack: Stack) -> None:
    former = stack.state.primary
    home = stack.folder if former == "postgres" else stack.folder / former
    with written_on_while(stack) as goes_on:
        shutil.rmtree(home / "postgres")
        kill(stack, former)
        goes_on()
    is_led_by_one(stack)
    rows = count_on(stack, stack.state.primary)
    eventually(partial(shows, stack, former, rows), "it follows")


@contextmanager
def written_on_while(stack: Stack) -> Iterator[Callable[[], None]]:
    """Write projects through the API within the block, and look for each that was acknowledged.

    What it gives waits until another server than at first has taken writes.
    """
    former, over = stack.state.primary, threading.Event()
    url = f"{stack.url}/api/v1"
    account = new_account()
    assert httpx.post(f"{url}/auth/register", json=account).status_code == 201
    login = {"email": account["email"], "password": PASSWORD}
    token = httpx.post(f"{url}/auth/login", json=login).json()["access_token"]
    acknowledged: list[int] = []

    def write_on() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=20) as client:
            while not over.is_set():
                answer = client.post("/projects", json=new_project())
                assert answer.status_code in (201, 503, 504), answer.text
                if answer.status_code == 201:
                    acknowledged.append(int(answer.json()["id"]))

    def goes_on() -> None:
        eventually(lambda: stack.state.primary != former, "another one leads", RECOVERY_SECONDS)
        before = len(acknowledged)
        eventually(lambda: len(acknowledged) > before + 20, "writes go on", RECOVERY_SECONDS)

    with ThreadPoolExecutor(WRITERS) as threads:
        writers = [threads.submit(write_on) for _ in range(WRITERS)]
        try:
            eventually(lambda: len(acknowledged) > 20, "writes are acknowledged")
            yield goes_on
        finally:
            over.set()
    for writer in writers:
        writer.result()
    there = f"SELECT count(*) FROM projects WHERE id IN ({','.join(map(str, acknowledged))})"
    assert int(run(stack.database_uri, there)) == len(acknowledged)


def is_led_by_one(stack: Stack) -> None:
    """Wait until all servers answer; of them one takes writes, and it is the one that is named."""
    for name in MEMBERS:
        eventually(partial(shows_rows, stack, name), f"{name} answers")
    recovering = "SELECT pg_is_in_recovery()"
    leading = [each for each in MEMBERS if run(service(stack, each).address, recovering) == "False"]
    assert leading == [stack.state.primary]


def takes_no_writes(data: Path) -> None:
    """A former primary, started by hand before anybody has had it follow the new one."""
    former = EmbeddedPostgres(data)
    former.start()
    try:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            run(former.uri, "INSERT INTO written VALUES (9)")
    finally:
        former.stop()


def shows(stack: Stack, name: str, rows: int) -> bool:
    """Whether a server that may be starting shows so many rows."""
    try:
        return count_on(stack, name) == rows
    except (OSError, asyncpg.PostgresError):
        return False
