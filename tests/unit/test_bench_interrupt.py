"""Ctrl-C in a bench: noted wherever it hits, acted on where the bench waits."""

import os
import signal
import sys
from pathlib import Path

import pytest

from mercenary.bench.interrupt import ctrl_c_noted, interrupted
from mercenary.bench.load import run_all
from mercenary.local.children import Halted


class Destroyed:
    """Is hit by Ctrl-C in the moment of its destruction, where Python would swallow it."""

    def __del__(self) -> None:
        press_ctrl_c()


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_in_a_destructor_is_noted() -> None:
    with ctrl_c_noted():
        assert not interrupted()
        Destroyed()
        assert interrupted()
    assert not interrupted()


def test_a_second_one_is_raised() -> None:
    with ctrl_c_noted():
        press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()


def test_load_stops_and_leaves_no_process(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    written = f"import os, pathlib, signal; pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))"
    command = [sys.executable, "-c", f"{written}; signal.pause()"]

    def press_when_it_runs() -> None:
        if pid.exists() and pid.read_text():
            press_ctrl_c()

    with pytest.raises(Halted), ctrl_c_noted():
        run_all([command], 60, press_when_it_runs)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
