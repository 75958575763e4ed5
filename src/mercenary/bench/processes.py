"""What processes use: seconds of processor and bytes of memory of a whole tree of them."""

from collections.abc import Iterator
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

MIB = 1024 * 1024


class Usage(NamedTuple):
    """Since they started: seconds of processor; now: resident memory in MiB."""

    cpu_seconds: float
    rss_mib: float


def usage(pid: int | None) -> Usage:
    """What a process and its descendants use; nothing where `pid` is None or has ended.

    Descendants that ended count by what their parents were told when they waited for them, so a
    worker that was replaced isn't lost. Shared pages count once for each process that maps them.
    """
    cpu_seconds = rss = 0.0
    for process in _tree(pid):
        try:
            with process.oneshot():
                times = process.cpu_times()
                rss += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        cpu_seconds += times.user + times.system
        cpu_seconds += getattr(times, "children_user", 0.0)
        cpu_seconds += getattr(times, "children_system", 0.0)
    return Usage(cpu_seconds, rss / MIB)


def workers_rss(pid: int | None) -> float:
    """The resident memory of the largest direct child of a server, in MiB; 0 where it has none."""
    if pid is None:
        return 0.0
    try:
        children = psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return 0.0
    return max((usage(child.pid).rss_mib for child in children), default=0.0)


def _tree(pid: int | None) -> Iterator[psutil.Process]:
    if pid is None:
        return
    try:
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)
    except psutil.NoSuchProcess:
        return


def listener(port: int) -> int | None:
    """The server on a TCP port of this machine; None where that can't be seen.

    Of several processes that listen, as workers do, it is the one that made the others.
    """
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    pids = {
        one.pid
        for one in connections
        if one.pid is not None and one.status == psutil.CONN_LISTEN and one.laddr.port == port
    }
    lines = [[pid, *(one.pid for one in psutil.Process(pid).parents())] for pid in pids]
    shared = [pid for pid in lines[0] if all(pid in line for line in lines)] if lines else []
    return int(shared[0]) if shared else None
