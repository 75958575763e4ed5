"""`mercenary bench cache` as people run it, on a small stack: its form, no speeds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mercenary.local.stack import without_settings

SMALL = (
    *("--scale", "1k", "--seconds", "1", "--runs", "1", "--minute", "2", "--requests", "500"),
    *("--connections", "8", "--json", "cache.json"),
)
STORE = ["store: a hit", "store: a miss", "store: a node that pushes out another"]
COSTS = [
    *("bare callable", "hit in memory", "the same, not modified", "hit in Valkey", "miss"),
    *("bypass", "mercenary", "cashews", "cashews, Valkey alone"),
]


def test_hits_of_both_kinds_and_misses_are_measured_and_judged(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "mercenary", "bench", "cache", *SMALL],
        env=without_settings(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode in {0, 1}, ran.stderr
    report: dict[str, Any] = json.loads((tmp_path / "cache.json").read_text())
    names = ["hit-memory", "hit-valkey", "bypass", "with-changes"]
    assert [row["name"] for row in report["rows"]] == names
    assert all(row["errors"] == 0 for row in report["rows"])
    assert all(list(row["yardsticks"]) == ["bare-asgi"] for row in report["rows"])
    costs = {one["name"]: one["found"] for one in report["detail"]["costs"]}
    assert list(costs) == STORE + COSTS
    assert [list(costs[name]) for name in COSTS[:6]] == [
        *(["200"], ["hit-memory"], ["hit-memory"], ["hit-redis"], ["miss"], ["bypass"])
    ]
    answered = {one["name"]: one["words"] for one in report["detail"]["answered"]}
    assert list(answered) == ["hit-memory", "hit-valkey", "all projects"]
    assert answered["all projects"]["hit-memory"] > 0
    assert all(one["met"] for one in report["verdicts"]) is (ran.returncode == 0)
    assert "| hit in Valkey |" in ran.stdout
