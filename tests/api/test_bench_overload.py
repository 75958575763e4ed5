"""`mercenary bench overload` as people run it, on a small stack: its form, no speeds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mercenary.local.stack import without_settings

SMALL = ("--scale", "1k", "--seconds", "1", "--json", "storm.json")
STEPS = ["unloaded", *(f"{times} x capacity" for times in (1, 2, 5, 10)), "afterwards"]


def test_every_step_is_driven_and_judged_and_nobody_goes_without_an_answer(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "mercenary", "bench", "overload", *SMALL],
        env=without_settings(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode in {0, 1}, ran.stderr
    report: dict[str, Any] = json.loads((tmp_path / "storm.json").read_text())
    assert [row["name"] for row in report["rows"]] == STEPS
    for row in report["rows"]:
        assert row["errors"] == 0
        assert sum(one["offered"] for one in row["classes"].values()) > 0
        assert list(row["classes"]) == ["write", "read", "search"]
    rates = [row["offered"] for row in report["rows"]]
    assert rates[1:5] == sorted(rates[1:5])
    assert len(report["verdicts"]) == 5
    assert all(one["met"] for one in report["verdicts"]) is (ran.returncode == 0)
    assert report["detail"]["busy"].keys() == {"api", "postgresql", "generator", "others"}
    assert "| 10 x capacity |" in ran.stdout
