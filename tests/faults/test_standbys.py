"""Standbys beside the embedded database: real servers that stream, die, come back and go."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from mercenary.local.stack import Stack
from mercenary.local.state import Service
from tests.faults.conftest import Starter, called, eventually, only_line


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
    return count_on(stack, name) > 0


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


def test_a_commit_waits_for_a_quorum_of_the_standbys(stack: Stack) -> None:
    found = run(stack.database_uri, "SELECT string_agg(sync_state, ',') FROM pg_stat_replication")
    assert found == "quorum,quorum"
    assert run(stack.database_uri, "SHOW synchronous_commit") == "on"


def test_a_standby_that_is_killed_comes_back_and_catches_up(stack: Stack) -> None:
    kill(stack, "replica-1")
    before = count_on(stack, "postgres")
    run(stack.database_uri, "INSERT INTO written VALUES (3)")
    eventually(lambda: count_on(stack, "replica-1") == before + 1, "it has caught up")


def test_a_primary_that_is_killed_comes_back_with_all_that_it_acknowledged(stack: Stack) -> None:
    for number in range(20):
        run(stack.database_uri, f"INSERT INTO written VALUES ({number})")
    before = count_on(stack, "postgres")
    kill(stack, "postgres")
    assert count_on(stack, "postgres") == before
    run(stack.database_uri, "INSERT INTO written VALUES (4)")
    eventually(lambda: count_on(stack, "replica-2") == before + 1, "the standbys follow it again")


def test_fewer_standbys_leave_neither_files_nor_slots(up: Starter, data: Path) -> None:
    running = up("--workers", "2", "--replicas", "2").until_ready()
    status = json.loads(called("status", "--data", str(data), "--json").stdout)
    assert {"replica-1", "replica-2"} < {row["name"] for row in status["services"]}
    assert running.stop() == 0
    # Fewer workers need fewer connections, which a standby takes only from its primary's log.
    running = up("--workers", "1", "--replicas", "1").until_ready()
    slots = "SELECT string_agg(slot_name, ',') FROM pg_replication_slots"
    assert run(running.state.database_uri, slots) == "replica_1"
    assert not (data / "replica-2").exists()
    assert running.stop() == 0
    running = up("--workers", "1").until_ready()
    assert run(running.state.database_uri, slots) == "None"


def test_standbys_that_cannot_be_had_are_refused_by_one_line(data: Path) -> None:
    few = called("up", "--data", str(data), "--replicas", "1", "--synchronous", "2")
    assert few.returncode == 2
    assert "--synchronous" in only_line(few.stderr)
    yours = {"SQLALCHEMY_DATABASE_URI": "postgresql://localhost/yours"}
    foreign = called("up", "--data", str(data), "--replicas", "1", **yours)
    assert foreign.returncode == 2
    assert "MERCENARY_REPLICA_URIS" in only_line(foreign.stderr)
