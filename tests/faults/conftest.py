"""Real `mercenary up` processes, watched from outside and never left running."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from mercenary.local.processes import Mark, alive, kill_group, mark
from mercenary.local.stack import temporary_folder, without_settings
from mercenary.local.state import State, read_state
from mercenary.local.supervisor import mercenary_command

PATIENCE = 60.0


def eventually(condition: Callable[[], object], what: str, within: float = PATIENCE) -> None:
    """Poll until the condition holds; fail with `what` after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(0.02)


class Up:
    """One `mercenary up` and what it says."""

    def __init__(self, data: Path, output: Path, *arguments: str, **environment: str) -> None:
        self.data = data
        self.output = output
        with output.open("wb") as out:
            self.process = subprocess.Popen(
                mercenary_command("up", "--data", str(data), "--seed", "none", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**without_settings(), **environment},
                cwd=output.parent,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def state(self) -> State:
        state = read_state(self.data)
        assert state is not None
        return state

    def mark(self, service: str) -> Mark | None:
        state = read_state(self.data)
        found = [one.mark for one in (state.services if state else []) if one.name == service]
        return found[0] if found else None

    def until_ready(self) -> "Up":
        eventually(lambda: "Ctrl-C" in self.said or self.process.poll() is not None, "ready")
        assert self.process.poll() is None, self.said
        return self

    def family(self) -> list[Mark]:
        """Every process below this one."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [found for found in (mark(one.pid) for one in below) if found is not None]

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


Starter = Callable[..., Up]


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder that servers of another account can reach, too; it goes with the test."""
    folder = temporary_folder() / "data"
    yield folder
    shutil.rmtree(folder.parent)


@pytest.fixture
def up(data: Path, tmp_path: Path) -> Iterator[Starter]:
    """Starts `mercenary up` on the test's data folder, or another. All are stopped at the end."""
    started: list[Up] = []

    def start(*arguments: str, on: Path | None = None, **environment: str) -> Up:
        output = tmp_path / f"up-{len(started)}.log"
        port = () if "--port" in arguments else ("--port", "0")
        started.append(Up(on or data, output, *port, *arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            family = one.family()
            one.stop()
            for left in family:
                if alive(left):
                    kill_group(left.pid)


def called(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a `mercenary` command to its end."""
    return subprocess.run(
        mercenary_command(*arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**without_settings(), **environment},
        cwd=os.sep,
        check=False,
    )


def only_line(text: str) -> str:
    """The text, which must be one line without a trace of Python's."""
    assert re.fullmatch(r"mercenary: [^\n]+\n", text), text
    return text


def gone(marks: list[Mark]) -> bool:
    return not any(alive(one) for one in marks)


def environment_of(state: State) -> Mapping[str, str]:
    """What a command needs to use a stack's servers as its own."""
    return {"SQLALCHEMY_DATABASE_URI": state.database_uri, "CACHE_CONFIG": state.cache_config}
