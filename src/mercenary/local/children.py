"""Child processes: the ones that run on (`Child`), and the ones that run once (`run_once`).

Each is a session of its own, so that Ctrl-C reaches the supervisor alone, which stops them in
order. Nothing here uses threads: a child dies with the thread that made it (see `parent`).
"""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mercenary.local.account import Account
from mercenary.local.parent import bound_to_parent
from mercenary.local.processes import kill_group

POLL: Final = 0.02  # seconds between two looks at whether a server is ready
LOG_LIMIT: Final = 16 * 1024 * 1024


class ChildError(Exception):
    """A child didn't start, or a one-off failed. `output` is the end of what it wrote."""

    def __init__(self, what: str, output: str) -> None:
        super().__init__(what)
        self.output = output

    @property
    def reason(self) -> str:
        """The last thing it said that names an error, or the last thing it said."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        grave = [line for line in lines if re.search(r"FATAL|PANIC|[Ee]rror|mercenary: ", line)]
        return (grave or lines or ["it said nothing"])[-1]


class Halted(Exception):
    """The caller asked to stop while something was still being waited for."""


def wait_until(
    condition: Callable[[], bool], within: float, halted: Callable[[], bool] = lambda: False
) -> bool:
    """Poll until `condition` holds; False after `within` seconds. Raises `Halted`."""
    deadline = time.monotonic() + within
    while not condition():
        if halted():
            raise Halted
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


@dataclass
class Child:
    """A server that is to run until it is stopped. `ready` asks it whether it can be used."""

    name: str
    command: Sequence[str]
    log: Path
    ready: Callable[[], bool]
    stop_signal: signal.Signals = signal.SIGTERM
    environment: Mapping[str, str] | None = None
    account: Account | None = None
    ready_within: float = 30.0
    stop_within: float = 15.0
    halted: Callable[[], bool] = lambda: False
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    spawned: float = field(default=0.0, init=False)
    restarts: int = field(default=0, init=False)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self.process.pid if self.process and self.process.poll() is None else None

    @property
    def ran(self) -> float:
        """Seconds since the last start."""
        return time.monotonic() - self.spawned

    def spawn(self) -> None:
        """Start the process, and don't wait. Its output goes to the end of the log."""
        with _log_end(self.log) as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own programs
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
                preexec_fn=bound_to_parent(self.stop_signal),
                **(self.account.spawning() if self.account else {}),
            )
        self.spawned = time.monotonic()

    def wait_ready(self) -> None:
        """Wait until it can be used. Raises `ChildError` (nothing is left running), `Halted`."""
        if not wait_until(self._ready_or_dead, self.ready_within, self.halted):
            self.stop()
            raise ChildError(
                f"{self.name} wasn't ready within {self.ready_within:g} s", self.tail()
            )
        if self.pid is None:
            raise ChildError(f"{self.name} {self.ending}", self.tail())

    def start(self) -> None:
        """Start it and wait until it is ready. Raises as `wait_ready` does."""
        self.spawn()
        self.wait_ready()

    def stop(self, halfway: Callable[[], bool] = lambda: False) -> bool:
        """Ask it to end, and kill its group after the deadline, or once `halfway()` says so.

        False when it had to be killed.
        """
        if self.process is None:
            return True
        if self.pid is not None:
            self.process.send_signal(self.stop_signal)
        try:
            ended = wait_until(lambda: self.pid is None, self.stop_within, halfway)
        except Halted:
            ended = False
        kill_group(self.process.pid)  # whatever the group has left behind
        self.process.wait()
        return ended

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        return ending(self.process.returncode if self.process else None)

    def tail(self) -> str:
        """The end of its log, at most 4 kB."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            return log.read().decode(errors="replace")

    def _ready_or_dead(self) -> bool:
        return self.pid is None or self.ready()


def ending(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "runs"
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def run_once(
    command: Sequence[str],
    *,
    name: str | None = None,
    environment: Mapping[str, str] | None = None,
    account: Account | None = None,
    within: float = 300.0,
    halted: Callable[[], bool] = lambda: False,
) -> str:
    """Run a program to its end and return what it wrote. Raises `ChildError` when it fails.

    The program is killed after `within` seconds, and when `halted()` (which raises `Halted`).
    """
    name = name or Path(command[0]).name
    with tempfile.TemporaryFile() as written:
        process = subprocess.Popen(  # noqa: S603 - our own programs
            command,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            env=environment,
            cwd=None if account is None or not account.switched else "/",
            start_new_session=True,
            preexec_fn=bound_to_parent(signal.SIGKILL),
            **(account.spawning() if account else {}),
        )
        try:
            ended = wait_until(lambda: process.poll() is not None, within, halted)
        finally:
            kill_group(process.pid)
            process.wait()
        written.seek(0)
        output = written.read().decode(errors="replace")
    if not ended:
        raise ChildError(f"{name} took longer than {within:g} s", output)
    if process.returncode != 0:
        raise ChildError(f"{name} {ending(process.returncode)}", output)
    return output


@contextlib.contextmanager
def _log_end(path: Path) -> Iterator[int]:
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_suffix(".log.1"))
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)
