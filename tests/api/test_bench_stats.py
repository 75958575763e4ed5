"""`mercenary bench stats` as people run it, on a small stack: its form and manners, no speeds."""

import json
from pathlib import Path
from typing import Any

from tests.api.test_bench_lists import run


def test_the_report_has_both_reads_and_how_long_a_refresh_took(tmp_path: Path) -> None:
    few = ("--scale", "1k", "--runs", "2", "--asks", "5", "--json", "stats.json")
    ended = run(tmp_path, *few, bench="stats")
    assert ended.returncode in {0, 1}, ended.stderr
    report: dict[str, Any] = json.loads((tmp_path / "stats.json").read_text())
    assert list(report) == ["machine", "commit", "command", "rows", "detail"]
    assert [row["name"].split(",")[0] for row in report["rows"]] == [
        "stats/skills",
        "stats/marketplace",
    ]
    for row in report["rows"]:
        assert (row["errors"], row["runs"], list(row["yardsticks"])) == (0, 2, ["alone"])
    assert len(report["detail"]["refresh_seconds"]) == 2
    assert all(row["guide"]["met"] for row in report["rows"]) is (ended.returncode == 0)
    refresh, *reads = ended.stdout.splitlines()
    assert refresh.startswith("a refresh: ")
    assert len(reads) == len(report["rows"])
