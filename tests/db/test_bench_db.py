"""`mercenary bench db` as people run it, on few rows: its form and manners, no speeds."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mercenary.cli import main

FEW = ("--projects", "1000", "--runs", "1", "--seconds", "1", "--callers", "8")


def test_every_row_stands_beside_each_yardstick_and_is_judged(tmp_path: Path) -> None:
    file = tmp_path / "db.json"
    result = CliRunner().invoke(main, ["bench", "db", *FEW, "--markdown", "--json", str(file)])
    assert result.exit_code in (0, 1), result.output
    report: dict[str, Any] = json.loads(file.read_text())
    assert list(report) == ["machine", "commit", "command", "rows", "detail"]
    names = [row["name"] for row in report["rows"]]
    assert names == ["select-simple", "select-complex", "insert", "update"]
    for row in report["rows"]:
        assert (row["errors"], row["runs"]) == (0, 1)
        assert set(row["yardsticks"]) == {"pgbench", "sqlalchemy-core", "sqlalchemy-orm"}
        assert min(row["rate"], row["cpu_s_per_1000"], row["rss_mib"]) > 0
        assert f"| {row['name']} |" in result.stdout
    assert all(row["guide"]["met"] for row in report["rows"]) is (result.exit_code == 0)
