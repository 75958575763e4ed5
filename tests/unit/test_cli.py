"""The command line's frame: quick help, one-line failures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mercenary.cli import COMMANDS, main


def test_help_lists_every_command_and_imports_none() -> None:
    program = (
        "import sys; from mercenary.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('imported', [m for m in sys.modules if m in ('sqlalchemy', 'granian', 'msgspec')])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert all(name in shown for name in COMMANDS)
    assert shown.endswith("imported []\n")


def test_an_unknown_command_is_refused() -> None:
    answer = CliRunner().invoke(main, ["upp"])
    assert answer.exit_code == 2
    assert "No such command 'upp'" in answer.output


def test_settings_shows_value_source_and_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERCENARY_PORT", "8123")
    monkeypatch.setenv("SQLALCHEMY_DATABASE_URI", "postgresql://me:hunter2@db/market")
    answer = CliRunner().invoke(main, ["settings", "--json"])
    shown = json.loads(answer.output)
    assert shown["port"] == {
        "value": "8123",
        "source": "environment MERCENARY_PORT",
        "variable": "MERCENARY_PORT",
    }
    assert "hunter2" not in answer.output
    table = CliRunner().invoke(main, ["settings"])
    assert table.exit_code == 0
    assert "MERCENARY_PORT" in table.output
    assert "hunter2" not in table.output


def test_a_broken_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERCENARY_PORT", "none")
    monkeypatch.setenv("MERCENARY_WORKERS", "0")
    answer = CliRunner().invoke(main, ["settings"])
    assert answer.exit_code == 2
    assert answer.output.startswith("mercenary: MERCENARY_PORT is none")
    assert answer.output.count("\n") == 1


def test_status_of_nothing_says_what_to_do(tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, ["status", "--data", str(tmp_path)])
    assert answer.exit_code == 1
    assert "`mercenary up` starts it" in answer.output
    assert json.loads(
        CliRunner().invoke(main, ["status", "--data", str(tmp_path), "--json"]).output
    ) == {
        "data": str(tmp_path.resolve()),
        "well": False,
        "services": [],
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("purge",), "--tag T"),
        (("purge", "--all", "--tag", "projects"), "--tag T"),
        (("purge", "--tag", "porject:17"), "tags are project:ID, projects"),
        (("purge", "--tag", "project:01"), "project:ID"),
        (("explain", "projects"), "no path"),
        (("warm",), "no database"),
    ],
)
def test_a_cache_command_that_makes_no_sense_is_refused(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SQLALCHEMY_DATABASE_URI", raising=False)
    monkeypatch.setenv("MERCENARY_DATA", str(tmp_path))
    answer = CliRunner().invoke(main, ["cache", *arguments])
    assert answer.exit_code == 2
    assert words in answer.stderr
    assert answer.stderr.count("\n") == 1
