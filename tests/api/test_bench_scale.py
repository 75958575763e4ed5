"""`mercenary bench scale` as people run it, on two small stacks: its form, no speeds."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from mercenary.bench import contenders
from mercenary.cli import main

SMALL = (
    *("--sizes", "10k,1k", "--work", "insert,get-project", "--seconds", "1", "--runs", "1"),
    *("--workers", "1", "--connections", "8"),
)


def test_each_size_is_measured_through_the_api_and_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "CALLERS", 100)  # whose tokens are soon made and met
    file, chart = tmp_path / "scale.json", tmp_path / "growth.svg"
    arguments = ["bench", "scale", *SMALL, "--json", str(file), "--svg", str(chart)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (0, 1), result.output
    report: dict[str, Any] = json.loads(file.read_text())
    assert [(row["work"], row["projects"]) for row in report["rows"]] == [
        ("get-project", 1_000),
        ("get-project", 10_000),
        ("insert", 1_000),
        ("insert", 10_000),
    ]
    for row in report["rows"]:
        assert (row["errors"], row["runs"]) == (0, 1)
        assert min(row["rate"], row["p95_ms"], row["slower"], row["later"]) > 0
    assert all(one["met"] for one in report["verdicts"]) is (result.exit_code == 0)
    assert "| insert | 10,000 |" in result.stdout
    assert ElementTree.fromstring(chart.read_text()).tag.endswith("svg")
