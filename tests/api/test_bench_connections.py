"""`mercenary bench connections` with fewer of them: all are open at once, and none is lost."""

import json
from pathlib import Path
from typing import Any

from tests.api.test_bench import started

CONNECTIONS = 2_000


def test_two_thousand_callers_stay_connected_at_once(tmp_path: Path) -> None:
    process = started(
        tmp_path,
        "connections",
        *("--connections", str(CONNECTIONS), "--seconds", "5", "--scale", "1k"),
        *("--json", "report.json"),
    )
    printed, said = process.communicate(timeout=240)
    assert process.returncode in {0, 1}, said
    report: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())

    assert list(report) == ["machine", "commit", "command", "rows", "detail"]
    assert [row["name"] for row in report["rows"]] == ["connections"]
    seen = report["detail"]["seen"]
    assert seen["open_first"] == seen["open_last"] == CONNECTIONS
    assert not {"connect", "closed"} & seen["errors"].keys()
    assert report["rows"][0]["rate"] > 0
    checks = report["detail"]["checks"]
    assert all(check["met"] for check in checks) is (process.returncode == 0)
    assert f"connections open at once: {CONNECTIONS:,}" in printed
