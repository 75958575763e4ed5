"""The audit of dependencies finds what is too old and what has holes, and says how far it saw."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools import audit

ROOT = Path(__file__).parents[2]
LOCK = """\
PyJWT==2.12.1 \\
    --hash=sha256:00
celery==5.6.2 ; python_full_version >= '3.11' \\
    --hash=sha256:starlette==0.1
starlette==1.0.1
"""


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_what_is_below_its_minimum_is_named() -> None:
    assert list(audit.too_old(LOCK.splitlines(), "a.lock")) == [
        "a.lock: pyjwt 2.12.1 has known holes; 2.13 or newer is needed",
        "a.lock: celery 5.6.2 has known holes; 5.6.3 or newer is needed",
    ]


@pytest.mark.parametrize("lock", audit.LOCKS)
def test_our_lock_files_are_above_every_minimum(lock: str) -> None:
    lines = (ROOT / lock).read_text().splitlines()
    assert {name for name, _ in audit.pins(lines)} >= {"starlette", "granian", "pyjwt"}
    assert list(audit.too_old(lines, lock)) == []


@pytest.mark.parametrize("lock", audit.LOCKS)
def test_our_lock_files_name_no_address_and_no_path(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--index" not in text
    assert " @ " not in text


def test_a_hole_is_named_with_the_release_that_mends_it() -> None:
    found, said = audit.looked_up(
        report(
            {
                "name": "starlette",
                "version": "1.0.2",
                "vulns": [
                    {"id": "PYSEC-1", "fix_versions": ["1.0.3", "1.1.1"]},
                    {"id": "PYSEC-2", "fix_versions": []},
                ],
            },
            {"name": "granian", "version": "2.8.7", "vulns": []},
            {"name": "ours", "skip_reason": "not found"},
        )
    )
    assert found == [
        "starlette 1.0.2: PYSEC-1, mended in 1.0.3, 1.1.1",
        "starlette 1.0.2: PYSEC-2, mended in no release yet",
    ]
    assert said == "pip-audit looked up 2 of 3 packages."


@pytest.mark.parametrize("text", ["", "ERROR: no network", "{}", "[1", report()])
def test_a_source_that_gives_nothing_is_no_all_clear(text: str) -> None:
    found, said = audit.looked_up(text)
    assert found == []
    assert "only the minimum versions were checked" in said


def test_a_source_that_knows_no_package_is_no_all_clear() -> None:
    found, said = audit.looked_up(report({"name": "starlette", "skip_reason": "not found"}))
    assert found == []
    assert "only the minimum versions were checked" in said


def test_whatever_is_wrong_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for lock in audit.LOCKS:
        (tmp_path / lock).write_text("starlette==1.10.0\n")
    hole = {"id": "PYSEC-1", "fix_versions": ["2"]}
    holes = report({"name": "starlette", "version": "1.10.0", "vulns": [hole]})
    monkeypatch.setattr(audit, "_pip_audit", lambda lock: report())
    assert audit.main(tmp_path) == 0
    monkeypatch.setattr(audit, "_pip_audit", lambda lock: holes)
    assert audit.main(tmp_path) == 1
    assert "PYSEC-1" in capsys.readouterr().out
    monkeypatch.setattr(audit, "_pip_audit", lambda lock: report())
    (tmp_path / audit.LOCKS[0]).write_text("starlette==1.0.0\n")
    assert audit.main(tmp_path) == 1
    assert f"{audit.LOCKS[0]}: starlette 1.0.0" in capsys.readouterr().out
