"""`mercenary bench api` as people run it, on a small stack: its form and its manners, no speeds."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from mercenary.settings import GUIDE_NAMES, PREFIX

# So few connections that even a busy machine has room for all: refusals would be errors.
SMALL = ("--scale", "1k", "--seconds", "1", "--runs", "1", "--connections", "8")
CONTENDERS = ["mercenary", "bare-asgi", "plain-fastapi"]
ROWS = [
    *("list-users", "get-project", "get-project-uncached", "list-projects-uncached"),
    "create-project",
]
UNCACHED = [row for row in ROWS if row.endswith("-uncached")]
ROW_KEYS = [
    *("name", "rate", "p50_ms", "p95_ms", "p99_ms", "errors", "cpu_s_per_1000", "rss_mib"),
    *("runs", "guide", "yardsticks"),
]


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The bench with these arguments, under settings of its own."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and name not in GUIDE_NAMES.values()
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "mercenary", "bench", *arguments],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_report_has_every_row_contender_and_fact(tmp_path: Path) -> None:
    process = started(tmp_path, "api", *SMALL, "--json", "report.json", "--markdown")
    printed, said = process.communicate(timeout=240)
    assert process.returncode in {0, 1}, said
    report: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())

    assert list(report) == ["machine", "commit", "command", "rows", "detail"]
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["versions"].keys() >= {"mercenary", "granian", "fastapi"}
    assert report["command"].startswith("mercenary bench api --scale 1k")
    assert [row["name"] for row in report["rows"]] == ROWS
    for row in report["rows"]:
        assert list(row) == ROW_KEYS
        assert row["errors"] == 0
        assert row["runs"] == 1
        assert list(row["yardsticks"]) == CONTENDERS[1:]
    guided = [row["guide"] for row in report["rows"] if row["guide"] is not None]
    assert [row["name"] for row in report["rows"] if row["guide"] is None] == UNCACHED
    assert all(guide["met"] for guide in guided) is (process.returncode == 0)
    measured = report["detail"]["measurements"]
    assert [(one["row"], one["contender"]) for one in measured] == [
        (row, contender) for row in ROWS for contender in CONTENDERS
    ]
    assert all(one["requests"] > 0 and one["errors"]["status"] == 0 for one in measured)
    # The bare callable has no database; whose the others' is, is known.
    assert {one["contender"] for one in measured if one["database_cpu_s"] is None} == {"bare-asgi"}
    assert "| get-project |" in printed


def test_ctrl_c_stops_everything_it_started(tmp_path: Path) -> None:
    process = started(tmp_path, "api", *SMALL, "--runs", "50")
    seen: dict[int, Any] = {}

    def runs_yardsticks() -> bool:
        for child in psutil.Process(process.pid).children(recursive=True):
            seen.setdefault(child.pid, child)
        return sum("--target" in _arguments(child) for child in seen.values()) >= 2

    try:
        wait_until(runs_yardsticks, 120)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    wait_until(lambda: not any(child.is_running() for child in seen.values()), 30)


def _arguments(process: Any) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def wait_until(condition: Callable[[], bool], within: float) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
