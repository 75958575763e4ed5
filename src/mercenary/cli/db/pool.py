"""`mercenary db pool`: the workers' pools, and who is connected to the server."""

import sys
import time
from collections.abc import Mapping, Sequence

import click
import msgspec
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from mercenary.cache import counters
from mercenary.cache.caches import path_of
from mercenary.cache.scoreboard import Board, Scoreboard
from mercenary.cli.db.showing import as_json_option, ask, show, table_of
from mercenary.cli.failures import CommandError
from mercenary.cli.spans import short
from mercenary.db import pool, replicas
from mercenary.db.inspection.activity import Connections, connections
from mercenary.local.state import effective
from mercenary.settings import load

NEARLY_FULL = 0.9
NOBODY = "No worker of this host serves that database."
_NAMES = (*pool.NAMES, *replicas.NAMES)


class Worker(msgspec.Struct, frozen=True):
    """A worker of this host: what it has counted of its pool and replicas, and how long ago."""

    pid: int
    age_seconds: float
    counters: Mapping[str, int]


class Pools(msgspec.Struct, frozen=True):
    """Both sides: the server's, None where it doesn't answer and why, and the workers'.

    `totals` are of all workers of this host, with those that are gone; `other_versions` is how many
    there are whose counters mean other things.
    """

    server: Connections | None
    fault: str | None
    workers: Sequence[Worker]
    totals: Mapping[str, int]
    other_versions: int


@click.command()
@as_json_option
def command(as_json: bool) -> None:
    """Show the pools of this host's workers, and the server's connections.

    The workers tell theirs when the server takes no more, too. Exit code 1 when nine tenths of what
    the server takes are in use or somebody waits for a connection, 2 when the server can't be
    asked.
    """
    fault: CommandError | None = None
    server: Connections | None = None
    board = _board()
    try:
        server = ask(connections)
    except CommandError as error:
        fault = error
    found = _pools(server, fault, board)
    show(found, _picture, as_json=as_json)
    if fault is not None:
        raise fault
    sys.exit(1 if _is_short(found) else 0)


def _board() -> Board | None:
    """What the workers have counted; None where none has ever run."""
    settings = effective(load())
    path = path_of(settings, settings.sqlalchemy_database_uri or "")
    try:
        scoreboard = Scoreboard(path, counters.NAMES, make=False)
    except FileNotFoundError:
        return None
    try:
        return scoreboard.read()
    finally:
        scoreboard.close()


def _pools(server: Connections | None, fault: CommandError | None, board: Board | None) -> Pools:
    told = None if fault is None else fault.message
    if board is None:
        return Pools(server, told, [], {}, 0)
    now = time.time()
    workers = [
        Worker(each.pid, max(0.0, now - each.written), _of(each.values)) for each in board.processes
    ]
    return Pools(server, told, workers, _of(board.totals), board.others)


def _of(values: Mapping[str, float]) -> dict[str, int]:
    return {name: int(values.get(name, 0)) for name in _NAMES}


def _is_short(found: Pools) -> bool:
    waiting = any(each.counters["pool_waiting"] for each in found.workers)
    server = found.server
    return waiting or (
        server is not None and server.used >= NEARLY_FULL * (server.limit - server.reserved)
    )


def _picture(found: Pools) -> RenderableType:
    shown: list[RenderableType] = [_workers(found.workers) if found.workers else NOBODY]
    if found.other_versions:
        shown.append(f"{found.other_versions} of another version tell nothing here.")
    if any(each.counters["replicas_named"] for each in found.workers):
        shown += ["", _replicas(found.workers)]
    if found.server is not None:
        shown += ["", _server(found.server)]
        most = sum(each.counters["pool_most"] for each in found.workers)
        free = found.server.limit - found.server.reserved
        if most > free:
            shown.append(
                f"[yellow]The workers' pools may open {most} connections, and the server takes "
                f"{free}: make pools smaller, or put a pooler between (MERCENARY_POOLER)."
            )
        if found.server.role.hint:
            shown.append(found.server.role.hint)
    return Group(*shown)


def _workers(workers: Sequence[Worker]) -> Table:
    rows = []
    for each in workers:
        counted = each.counters
        in_vain = counted["pool_timeouts_total"]
        waiting = counted["pool_waiting"]
        rows.append(
            (
                str(each.pid),
                str(counted["pool_most"]),
                str(counted["pool_in_use"]),
                str(counted["pool_standing"]),
                str(counted["pool_idle"]),
                f"[red]{waiting}" if waiting else "0",
                f"{counted['pool_waited_total']:,}",
                f"[red]{in_vain:,}" if in_vain else "0",
            )
        )
    columns = ("worker", "#at most", "#in use", "#kept", "#idle", "#waiting", "#waited", "#in vain")
    return table_of("Pools of this host's workers", columns, rows)


def _replicas(workers: Sequence[Worker]) -> Table:
    names = ("answered", "behind", "unusable", "lost", "refused")
    rows = []
    for each in workers:
        used, named = each.counters["replicas_used"], each.counters["replicas_named"]
        counted = (f"{each.counters[f'replicas_{name}_total']:,}" for name in names)
        busy = each.counters["replicas_pool_in_use"]
        rows.append((str(each.pid), f"{used} of {named}", str(busy), *counted))
    columns = ("worker", "#used", "#in use", *(f"#{name}" for name in names))
    return table_of("Their replicas: reads answered, and given to the primary", columns, rows)


def _server(found: Connections) -> Table:
    title = f"The server: {found.used} of {found.limit} connections, {found.reserved} reserved"
    rows = [
        (
            escape(each.application or "(unnamed)"),
            each.state,
            str(each.count),
            "-" if each.oldest_seconds is None else short(each.oldest_seconds),
        )
        for each in found.groups
    ]
    return table_of(title, ("application", "state", "#connections", "#longest in it"), rows)
