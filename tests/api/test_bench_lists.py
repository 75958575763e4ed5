"""`mercenary bench lists` as people run it, on a small stack: its form and manners, no speeds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mercenary.bench.lists import lines
from mercenary.bench.report import Measurement, Report, Row, Verdict
from mercenary.settings import GUIDE_NAMES, PREFIX


def run(folder: Path, *arguments: str, bench: str = "lists") -> "subprocess.CompletedProcess[str]":
    """The command, under settings of its own."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and name not in GUIDE_NAMES.values()
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "mercenary", "bench", bench, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_the_report_has_every_list_and_sort(tmp_path: Path) -> None:
    few = ("--scale", "1k", "--runs", "2", "--asks", "2", "--json", "lists.json")
    ended = run(tmp_path, *few)
    assert ended.returncode in {0, 1}, ended.stderr
    report: dict[str, Any] = json.loads((tmp_path / "lists.json").read_text())
    assert list(report) == ["machine", "commit", "command", "rows", "detail"]
    names = [row["name"] for row in report["rows"]]
    by_time_and_budget = ("created_at", "-created_at", "budget", "-budget")
    assert names[:4] == [f"projects {sort}" for sort in by_time_and_budget]
    lists = {name.rpartition(" ")[0] for name in names}
    assert lists >= {"projects?status=open", "projects?client_id=", "users", "skills"}
    for row in report["rows"]:
        assert (row["errors"], row["runs"], list(row["yardsticks"])) == (0, 2, ["page-1"])
        assert report["detail"]["rows"][row["name"]] >= 20
    assert all(row["guide"]["met"] for row in report["rows"]) is (ended.returncode == 0)
    assert len(report["detail"]["measurements"]) == 2 * 2 * len(names)
    assert len(ended.stdout.splitlines()) == len(names)


def test_an_empty_database_is_one_line_and_exit_code_2(tmp_path: Path, database_uri: str) -> None:
    ended = run(tmp_path, "--database", database_uri)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "mercenary seed" in ended.stderr.splitlines()[-1]


def test_a_deep_page_that_takes_longer_is_said_to_be_missed() -> None:
    def measured(contender: str, run: int, rate: float) -> Measurement:
        return Measurement(
            *("users name", contender, run, rate, 20, 1.0, 1.0, 1.0, {}, None, None, None, 0.0, 0.0)
        )

    runs = [measured("mercenary", 0, 100.0), measured("page-1", 0, 150.0)]
    verdict = Verdict(125.0, 1.2, met=False)
    row = Row(
        *("users name", 100.0, 10.0, 10.0, 10.0, 0, None, None, 1, verdict, {"page-1": 0.667})
    )
    detail = {"rows": {"users name": 4000}, "measurements": runs}
    (line,) = lines(Report({}, "", "", [row], detail))
    assert line == (
        "MISSED  users name: row 4,000 in 10.00 ms, page 1 in 6.67 ms: 1.50 times (1.50 to 1.50)"
    )
