"""Standbys beside the embedded database: real servers that stream, die, come back and go."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import asyncpg
import httpx
import pytest

from mercenary.local.stack import Stack
from mercenary.local.state import Service
from tests.factories import PASSWORD, new_account, new_project
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


def test_status_says_how_far_behind_a_standby_is(stack: Stack) -> None:
    def behind(name: str) -> int | None:
        told = called("status", "--data", str(stack.folder), "--json")
        (row,) = (each for each in json.loads(told.stdout)["services"] if each["name"] == name)
        assert told.returncode == 0, told.stdout
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


def test_a_promoted_standby_takes_the_writes_and_the_others_follow(stack: Stack) -> None:
    before = count_on(stack, "postgres")
    told = called("db", "promote", "replica-2", MERCENARY_DATA=str(stack.folder))
    assert told.returncode == 0, told.stderr + stack.said
    assert stack.state.primary == "replica-2"
    run(stack.database_uri, "INSERT INTO written VALUES (5)")
    for name in ("postgres", "replica-1"):
        eventually(partial(shows, stack, name, before + 1), f"{name} follows")
        assert run(service(stack, name).address, "SELECT pg_is_in_recovery()") == "True"


def test_when_the_primary_loses_its_files_callers_go_on_with_all_that_was_acknowledged(
    stack: Stack,
) -> None:
    former = stack.state.primary
    lost = service(stack, former).mark
    assert lost is not None
    home = stack.folder if former == "postgres" else stack.folder / former
    with httpx.Client(base_url=f"{stack.url}/api/v1", timeout=20) as client:
        account = new_account(email="standby@example.com")
        assert client.post("/auth/register", json=account).status_code == 201
        login = {"email": account["email"], "password": PASSWORD}
        token = client.post("/auth/login", json=login).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        acknowledged = [written(client) for _ in range(30)]
        shutil.rmtree(home / "postgres")
        os.kill(lost.pid, signal.SIGKILL)

        def goes_on() -> bool:
            # Backends outlive a postmaster for moments: what they acknowledge counts as well.
            led = stack.state.primary
            acknowledged.append(written(client))
            return led != former and acknowledged[-1] is not None

        eventually(goes_on, "writes are acknowledged by another primary", 30)
    ids = [id for id in acknowledged if id is not None]
    assert len(ids) > 30
    there = f"SELECT count(*) FROM projects WHERE id IN ({','.join(map(str, ids))})"
    assert int(run(stack.database_uri, there)) == len(ids)
    rows = count_on(stack, stack.state.primary)
    eventually(partial(shows, stack, former, rows), "the former primary is a standby")
    leading = [
        name
        for name in ("postgres", "replica-1", "replica-2")
        if run(service(stack, name).address, "SELECT pg_is_in_recovery()") == "False"
    ]
    assert leading == [stack.state.primary]


def written(client: httpx.Client) -> int | None:
    """Write a project; its id once it is acknowledged."""
    answer = client.post("/projects", json=new_project())
    if answer.status_code == 201:
        return int(answer.json()["id"])
    assert answer.status_code in (503, 504), answer.text
    return None


def shows(stack: Stack, name: str, rows: int) -> bool:
    """Whether a server that may be starting shows so many rows."""
    try:
        return count_on(stack, name) == rows
    except (OSError, asyncpg.PostgresError):
        return False
