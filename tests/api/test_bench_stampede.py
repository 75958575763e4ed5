"""`mercenary bench stampede` as people run it, on a small stack: its form, no speeds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mercenary.local.stack import without_settings

SMALL = (
    *("--scale", "1k", "--callers", "50", "--rounds", "2", "--seconds", "2"),
    *("--share", "0.2", "--json", "stampede.json"),
)
MOMENTS = [
    *("kept", "changed", "expired", "kept, again and again", "expiring, again and again"),
    *("under load", "flushed under load"),
]


def test_every_moment_is_made_and_judged_and_everybody_is_served(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "mercenary", "bench", "stampede", *SMALL],
        env=without_settings(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode in {0, 1}, ran.stderr
    report: dict[str, Any] = json.loads((tmp_path / "stampede.json").read_text())
    assert [row["name"] for row in report["rows"]] == MOMENTS
    assert [(row["name"], row["errors"]) for row in report["rows"] if row["errors"]] == []
    assert [row["requests"] for row in report["rows"][:3]] == [100, 100, 100]
    assert len(report["verdicts"]) == 10
    assert all(one["met"] for one in report["verdicts"]) is (ran.returncode == 0)
    assert "| flushed under load |" in ran.stdout
