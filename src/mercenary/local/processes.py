"""Processes by number: told apart from later ones of the same number, and ended.

A `Mark` is a process id and its time of creation, so that a number which the system has given to
somebody else since is never signalled.
"""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]


class Mark(msgspec.Struct, frozen=True):
    """One process for good. `created` is in seconds since the epoch."""

    pid: int
    created: float


def mark(pid: int) -> Mark | None:
    """The mark of a process; None when there is none of that number."""
    try:
        return Mark(pid, float(psutil.Process(pid).create_time()))
    except psutil.Error:
        return None


def alive(marked: Mark) -> bool:
    """Whether that very process runs. One that ended and wasn't collected doesn't."""
    try:
        process = psutil.Process(marked.pid)
        return bool(
            abs(process.create_time() - marked.created) < 0.5  # the clock of boot time wanders
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.Error:
        return False


def arguments(pid: int) -> Sequence[str]:
    """A process's command line; empty when there is no such process."""
    try:
        return list(psutil.Process(pid).cmdline())
    except psutil.Error:
        return []


def total_memory() -> int:
    """The machine's memory in bytes."""
    return int(psutil.virtual_memory().total)


def end(marked: Mark, number: signal.Signals, within: float) -> None:
    """End that process and its group: by `number`, and by SIGKILL after `within` seconds."""
    if not alive(marked):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(marked.pid, number)
    deadline = time.monotonic() + within
    while alive(marked) and time.monotonic() < deadline:
        time.sleep(0.02)
    if alive(marked):
        kill_group(marked.pid)
        while alive(marked):
            time.sleep(0.02)


def kill_group(leader: int) -> None:
    """Kill what is left of a group. There may be nothing left, or a zombie of another account."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def kill_inside(folder: Path) -> None:
    """Kill every process whose current folder this is, and wait until none is left.

    A postmaster's children have groups of their own and outlive it for as long as they are busy.
    """
    while inside := [each for each in psutil.process_iter() if _is_inside(each, folder)]:
        for each in inside:
            with contextlib.suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(inside, timeout=0.1)


def _is_inside(process: psutil.Process, folder: Path) -> bool:
    try:
        return bool(
            process.cwd().removesuffix(" (deleted)") == str(folder)
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.Error:
        return False
