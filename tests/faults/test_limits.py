"""Limits of a running stack: two workers, real connections, and a Valkey that dies."""

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx

from tests.faults.conftest import Starter, Up, eventually

LIMIT = 60
YEAR = "31536000"
_numbers = count(1)


def flood(running: Up) -> Counter[int]:
    """Ask twice the limit at once from an address that nobody has called from; count statuses."""
    address = f"198.51.100.{next(_numbers)}"

    def ask(_: int) -> int:
        # A connection each, so that both workers are asked.
        answer = httpx.get(
            f"{running.state.url}/api/v1/skills",
            headers={"X-Forwarded-For": address},
            timeout=30,
        )
        assert answer.headers["ratelimit"].startswith('"guest";r=')
        return answer.status_code

    with ThreadPoolExecutor(8) as threads:
        return Counter(threads.map(ask, range(2 * LIMIT)))


def test_workers_keep_the_limit_together_and_go_on_while_valkey_dies(up: Starter) -> None:
    running = up(
        "--workers",
        "2",
        MERCENARY_GUEST_LIMIT=str(LIMIT),
        MERCENARY_GUEST_WINDOW=YEAR,
        MERCENARY_TRUSTED_PROXIES="127.0.0.1",
        # So that a busy machine doesn't look like a Valkey that hangs.
        MERCENARY_VALKEY_TIMEOUT="5",
    ).until_ready()
    assert flood(running) == {200: LIMIT, 429: LIMIT}

    valkey = running.mark("valkey")
    assert valkey is not None
    os.kill(valkey.pid, signal.SIGKILL)
    without = flood(running)
    assert set(without) == {200, 429}
    eventually(lambda: "valkey runs again" in running.said, "valkey is back")
    eventually(lambda: flood(running) == {200: LIMIT, 429: LIMIT}, "the limit is kept again")
