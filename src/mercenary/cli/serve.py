"""`mercenary serve`: the API on granian, one worker a core, on servers that are already there.

`mercenary up` calls it; in production it is what a container or a unit file calls.
"""

import gc
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

import click
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server
from sqlalchemy.exc import ArgumentError

from mercenary import settings
from mercenary.cli.failures import CommandError
from mercenary.db.uri import asyncpg_url
from mercenary.local.open_files import allow_open_files

TARGET: Final = "mercenary.app:create_app"
# Callers that wait for a worker to accept them, each worker's own; the kernel's somaxconn caps it.
BACKLOG: Final = 16_384
# What hyper reads of a head before it answers 431 by itself, without a body. It is wide enough for
# `edge.door` to see, and so to explain, nearly all that is too large.
LARGEST_HEAD: Final = 64 * 1024
# Files that a worker opens beside its callers and its pool: listener, loop, logs, Valkey, and
# room for what tools and threads open now and then.
OTHER_FILES: Final = 256
# How long a thread keeps Python's lock while another waits for it. granian's threads need it to
# hand a request over, so with Python's own 5 ms a busy worker couldn't even say no within 10 ms:
# with 0.5 ms the p99 of refusals fell from 46 to 13 ms (`mercenary bench overload`).
SWITCH_SECONDS: Final = 0.0005


@click.command()
@click.option("--host", help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65_535), help="The port to listen on.")
@click.option("--workers", type=click.IntRange(1, 512), help="Processes, one a core by default.")
@click.option("--target", default=TARGET, show_default=True, help="module:factory of an ASGI app.")
def command(host: str | None, port: int | None, workers: int | None, target: str) -> None:
    """Run the API alone, on the servers that the settings name."""
    loaded = settings.load()
    options = loaded.settings
    if target == TARGET:
        _check_database_uri(options.sqlalchemy_database_uri)
    processes = workers or options.workers
    # They read the settings by themselves, and take their part of a limit by their number.
    os.environ[settings.variable("workers")] = str(processes)
    server = Server(
        target,
        address=host or options.host,
        port=port or options.port,
        interface=Interfaces.ASGI,
        workers=processes,
        loop=Loops.uvloop,
        # Without TLS, HTTP/2 is for proxies that ask for it, and one connection could carry any
        # number of slow requests past every limit that counts connections. Decision 17.
        http=HTTPModes.http1,
        backlog=BACKLOG,
        backpressure=_connections(loaded),
        http1_settings=HTTP1Settings(
            header_read_timeout=options.idle_seconds * 1000, max_buffer_size=LARGEST_HEAD
        ),
        websockets=False,
        log_level=LogLevels(options.log_level),
        factory=True,
        respawn_failed_workers=True,
        workers_kill_timeout=options.drain_seconds,
    )
    _preload(target)
    _let_workers_hear_while_they_load()
    server.serve(target_loader=_load, wrap_loader=True)


def _check_database_uri(uri: str | None) -> None:
    """Refuse what no worker could use, for granian serves on when an application fails to start."""
    if uri is None:
        raise CommandError(
            "no database is named; set SQLALCHEMY_DATABASE_URI, or start all by `mercenary up`"
        )
    try:
        asyncpg_url(uri)
    except (ArgumentError, ValueError) as error:
        shown = settings.masked("sqlalchemy_database_uri", uri)
        raise CommandError(f"SQLALCHEMY_DATABASE_URI is {shown}, which is no address") from error


def _connections(loaded: settings.Loaded) -> int:
    """How many connections each worker can hold, after the limit of open files is raised for it.

    A number that somebody chose is kept or refused; the default is lowered to what is possible.
    """
    options = loaded.settings
    wanted = options.connections_per_worker
    pool = options.sqlalchemy_engine_options
    others = pool.pool_size + pool.max_overflow + OTHER_FILES
    files = allow_open_files(wanted + others)
    possible = files - others
    if possible >= wanted:
        return wanted
    name = settings.variable("connections_per_worker")
    why = f"{wanted} connections beside {others} other files are more than a process may open here"
    mend = f"raise the limit of {files} (ulimit -Hn)"
    if possible < 1:
        raise CommandError(f"{why}; {mend}")
    if loaded.sources["connections_per_worker"] != "default":
        raise CommandError(f"{why}; {mend}, or lower {name} to {possible}")
    click.echo(f"mercenary: {why}, so each worker holds {possible}; {mend}", err=True)
    return possible


def _preload(target: str) -> None:
    """Import the application once, before the workers are forked: a second of processor time for
    each of them otherwise, and memory that they now share. Nothing may be opened by an import."""
    if multiprocessing.get_start_method() == "fork":
        importlib.import_module(target.partition(":")[0])
        gc.collect()
        gc.freeze()  # the collector would touch, and so copy, every page


def _let_workers_hear_while_they_load() -> None:
    """Have a forked worker end on a signal that comes before granian gives it its own handlers.

    A fork has the handlers of granian's main process, which would only tell a copy of that one's
    loop: the worker would start, never stop, and be killed after the whole drain time.
    """
    numbers = {signal.SIGTERM, signal.SIGINT}

    def be_deaf() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def hear_again() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    def hear_as_usual() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
        hear_again()

    os.register_at_fork(before=be_deaf, after_in_parent=hear_again, after_in_child=hear_as_usual)


def _load(target: str) -> Callable[..., Any]:
    """Load the application in a worker, which is not to outlive the server that made it."""
    from granian._internal import load_target

    from mercenary.local.parent import die_with_parent

    die_with_parent(signal.SIGTERM)
    sys.setswitchinterval(SWITCH_SECONDS)
    return load_target(target, factory=True)
