"""Children: started, explained, and ended with all that they have started."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from mercenary.local.children import Child, ChildError, Halted, ending, run_once, wait_until
from mercenary.local.processes import Mark, alive, mark

FOREVER = "import time; time.sleep(600)"
DEAF = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    f"print('on', flush=True); {FOREVER}"
)
PARENT = (
    "import subprocess, sys; "
    f"print(subprocess.Popen([sys.executable, '-c', {FOREVER!r}]).pid, flush=True); {FOREVER}"
)


def child(tmp_path: Path, program: str, *, says: str = "", stop_within: float = 10.0) -> Child:
    log = tmp_path / "child.log"
    return Child(
        "child",
        [sys.executable, "-c", program],
        log,
        lambda: says in log.read_text(),
        stop_within=stop_within,
    )


def test_it_starts_and_stops(tmp_path: Path) -> None:
    one = child(tmp_path, f"print('on', flush=True); {FOREVER}", says="on")
    one.start()
    assert one.pid is not None
    assert one.stop()
    assert one.pid is None
    assert one.ending == "was ended by SIGTERM"


def test_one_that_ends_before_it_is_ready_tells_why(tmp_path: Path) -> None:
    one = child(tmp_path, "raise ValueError('no luck')", says="on")
    with pytest.raises(ChildError, match="child ended with code 1") as caught:
        one.start()
    assert caught.value.reason == "ValueError: no luck"


def test_one_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    one = child(tmp_path, FOREVER, says="on")
    one.ready_within = 0.2
    with pytest.raises(ChildError, match=r"wasn't ready within 0\.2 s"):
        one.start()
    assert one.pid is None


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    one = child(tmp_path, DEAF, says="on", stop_within=0.2)
    one.start()
    assert not one.stop()
    assert one.ending == "was ended by SIGKILL"


def test_what_it_has_started_goes_with_it(tmp_path: Path) -> None:
    one = child(tmp_path, PARENT, says="\n")
    one.start()
    below = mark(int(one.log.read_text()))
    assert below is not None
    one.stop()
    assert wait_until(lambda: not alive(below), 10)


def test_a_caller_that_halts_waits_no_longer(tmp_path: Path) -> None:
    one = child(tmp_path, FOREVER, says="never")
    one.halted = lambda: True
    with pytest.raises(Halted):
        one.start()
    one.stop()
    with pytest.raises(Halted):
        run_once([sys.executable, "-c", FOREVER], halted=lambda: True)


def test_a_program_that_runs_once_gives_its_output_or_its_fault() -> None:
    assert run_once([sys.executable, "-c", "print(1)"]) == "1\n"
    with pytest.raises(ChildError, match="ended with code 3"):
        run_once([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(ChildError, match=r"took longer than 0\.2 s"):
        run_once([sys.executable, "-c", FOREVER], within=0.2)


def test_endings_in_words() -> None:
    assert [ending(code) for code in (None, 0, -signal.SIGSEGV, -99)] == [
        "runs",
        "ended with code 0",
        "was ended by SIGSEGV",
        "was ended by signal 99",
    ]


def test_a_mark_is_of_one_process_and_not_of_its_number() -> None:
    me = mark(os.getpid())
    assert me is not None
    assert alive(me)
    assert abs(me.created - time.time()) < 86_400
    assert not alive(Mark(me.pid, me.created - 1000))
