"""`mercenary cache` beside a real `mercenary up`: what its workers did, and what reaches them."""

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from mercenary.local.stack import Stack
from mercenary.local.valkey import EmbeddedValkey
from tests.db.conftest import connected
from tests.faults.conftest import called, eventually, only_line


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Two workers that hear a relay, with a thousand projects."""
    with Stack(workers=2, seed="1k") as running:
        eventually(lambda: told(running, "stats")["word_age_seconds"] is not None, "a word")
        yield running


def cache(stack: Stack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Call `mercenary cache` on the stack."""
    return called("cache", *arguments, **stack.environment())


def told(stack: Stack, *arguments: str) -> Any:
    """What a command says as JSON."""
    return json.loads(cache(stack, *arguments, "--json").stdout)


def asked(found: Any) -> int:
    """How often answers were asked for."""
    totals = found["totals"]
    return int(totals["answers_hits_memory_total"] + totals["answers_absent_total"])


def test_totals_go_on_when_a_worker_is_replaced(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url) as client:
        for number in range(40):
            client.get("/api/v1/skills", params={"limit": 1 + number % 4})
    eventually(lambda: asked(told(stack, "stats")) >= 40, "all requests are told")
    before = told(stack, "stats")
    assert len(before["workers"]) == 2
    assert 0 < before["hit_ratio"]["answers"] < 1
    assert before["outbox"] == {"rows": 0, "oldest": 0.0}

    busiest = max(before["workers"], key=lambda each: each["counters"]["answers_absent_total"])
    os.kill(busiest["pid"], signal.SIGKILL)

    def replaced() -> bool:
        pids = [each["pid"] for each in told(stack, "stats")["workers"]]
        return len(pids) == 2 and busiest["pid"] not in pids

    eventually(replaced, "another worker took its place")
    assert asked(told(stack, "stats")) >= asked(before)
    shown = cache(stack, "stats")
    assert shown.returncode == 0
    assert "hits in memory" in shown.stdout
    assert "gone" in shown.stdout


async def test_a_row_that_was_mended_by_hand_is_seen_after_a_purge(stack: Stack) -> None:
    async with (
        connected(stack.database_uri) as database,
        httpx.AsyncClient(base_url=stack.url) as client,
    ):
        id = await database.fetchval("SELECT max(id) FROM projects WHERE status = 'open'")
        path = f"/api/v1/projects/{id}"
        await client.get(path)
        await database.execute("UPDATE projects SET title = 'Mended by hand' WHERE id = $1", id)
        purge = await asyncio.to_thread(cache, stack, "purge", "--tag", f"project:{id}")
        assert purge.returncode == 0, purge.stderr
        assert f"Forgotten on this host: project:{id}." in purge.stdout
        assert "Announced" in purge.stdout
        assert (await client.get(path)).json()["title"] == "Mended by hand"


async def test_everything_is_forgotten_at_once(stack: Stack) -> None:
    """By Valkey's tier, too: what is there doesn't count any more."""
    assert cache(stack, "warm", "--projects", "5", "--users", "0").returncode == 0
    purge = cache(stack, "purge", "--all")
    assert purge.returncode == 0, purge.stderr
    explained = told(stack, "explain", "/api/v1/skills", "--host", "http://127.0.0.1:1")
    assert "everything (a purge)" in explained["valkey"]["against"]
    assert explained["clocks"][0]["tag"] == "*"
    assert explained["clocks"][0]["moved"] is not None


async def test_what_was_warmed_is_in_valkey_before_anybody_asks(stack: Stack) -> None:
    with Redis.from_url(stack.cache_url) as redis:
        redis.flushall()
    warmed = cache(stack, "warm", "--projects", "30", "--users", "20")
    assert warmed.returncode == 0, warmed.stderr
    assert re.search(r"projects +│ +30 │ +0 │", warmed.stdout), warmed.stdout
    assert re.search(r"users +│ +20 │ +0 │", warmed.stdout), warmed.stdout
    async with connected(stack.database_uri) as database:
        id = await database.fetchval(
            "SELECT id FROM projects WHERE status <> 'draft' ORDER BY created_at DESC, id DESC"
        )
    for path in (f"/api/v1/projects/{id}", "/api/v1/users?role=client&sort=name"):
        explained = told(stack, "explain", path)
        assert explained["valkey"]["there"], explained
        assert explained["answered"]["status"] == 200
    again = cache(stack, "warm", "--projects", "30", "--users", "0")
    assert re.search(r"projects +│ +0 │ +30 │", again.stdout), again.stdout


def test_an_address_is_explained_by_what_the_server_answers(stack: Stack) -> None:
    path = "/api/v1/skills?limit=3"
    eventually(
        lambda: told(stack, "explain", path)["answered"]["x_cache"] in ("hit-memory", "hit-redis"),
        "it is kept",
    )
    shown = cache(stack, "explain", stack.url + path)
    assert shown.returncode == 0
    assert "GET /api/v1/skills limit=3" in shown.stdout
    assert "clock of skills" in shown.stdout
    own = cache(stack, "explain", "/api/v1/users/me")
    assert "never kept or shared" in own.stdout


def test_without_a_relay_and_workers_it_says_so(database_uri: str, valkey: EmbeddedValkey) -> None:
    environment = {"SQLALCHEMY_DATABASE_URI": database_uri, "CACHE_CONFIG": valkey.cache_config}
    warm = called("cache", "warm", **environment)
    assert warm.returncode == 2
    assert "mercenary relay" in only_line(warm.stderr)
    purge = called("cache", "purge", "--all", "--wait", "0.2", **environment)
    assert purge.returncode == 1
    assert "waits in the outbox" in purge.stderr
    stats = called("cache", "stats", **environment)
    assert (stats.returncode, stats.stdout) == (1, "No worker of this host serves that database.\n")
    explained = called("cache", "explain", "/api/v1/skills", **environment)
    assert explained.returncode == 0
    assert "doesn't have the relay's word" in " ".join(explained.stdout.split())
