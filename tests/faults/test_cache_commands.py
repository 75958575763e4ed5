"""`mercenary cache` beside a real `mercenary up`: what its workers did, and what reaches them."""

import json
import os
import signal
from typing import Any

import httpx
import pytest

from tests.faults.conftest import Starter, Up, called, eventually


@pytest.fixture
def running(up: Starter) -> Up:
    return up("--workers", "2").until_ready()


def stats(running: Up) -> dict[str, Any]:
    answer = called("cache", "stats", "--json", MERCENARY_DATA=str(running.data))
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_totals_go_on_when_a_worker_is_replaced(running: Up) -> None:
    with httpx.Client(base_url=running.state.url) as client:
        for number in range(40):
            client.get("/api/v1/skills", params={"limit": 1 + number % 4})

    def asked(found: dict[str, Any]) -> int:
        totals = found["totals"]
        return int(totals["answers_hits_memory_total"] + totals["answers_absent_total"])

    eventually(lambda: asked(stats(running)) >= 40, "all requests are told")
    before = stats(running)
    assert len(before["workers"]) == 2
    assert 0 < before["hit_ratio"]["answers"] < 1
    assert before["word_age_seconds"] < 5
    assert before["outbox"]["rows"] == 0

    busiest = max(before["workers"], key=lambda each: each["counters"]["answers_absent_total"])
    killed = busiest["pid"]
    os.kill(killed, signal.SIGKILL)
    eventually(
        lambda: (
            killed not in [each["pid"] for each in stats(running)["workers"]]
            and len(stats(running)["workers"]) == 2
        ),
        "another worker took its place",
    )
    assert asked(stats(running)) >= asked(before)

    shown = called("cache", "stats", MERCENARY_DATA=str(running.data))
    assert shown.returncode == 0
    assert "hits in memory" in shown.stdout
    assert "gone" in shown.stdout
