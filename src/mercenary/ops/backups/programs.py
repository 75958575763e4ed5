"""PostgreSQL's own programs: which of those that are here, and how they are run.

Sought where Debian keeps them, on the PATH, and among the embedded server's.
"""

import asyncio
import os
import re
import shutil
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from mercenary.local.account import serving_account
from mercenary.local.binaries import postgres_programs
from mercenary.local.children import ChildError, Halted, run_once
from mercenary.settings import SetupError

LONGEST_SECONDS: Final = 6 * 3600.0
"""After so long a program is given up."""
TRANSACTION_TIMEOUT: Final = 17
"""From this version on pg_restore begins with a setting that older servers refuse."""
DEBIAN: Final = Path("/usr/lib/postgresql")


async def talk(uri: str, program: Path, *arguments: str) -> None:
    """Run a program that talks to the server at `uri`.

    Raises:
        ChildError: it failed, or took too long.
    """
    password = make_url(uri).password
    # Where everybody on the host can't read it, as they could among the arguments.
    environment = {**os.environ, "PGPASSWORD": password} if password is not None else None
    command = [str(program), f"--dbname={address(uri)}", *arguments]
    await run(command, environment=environment)


async def run(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
    """Run a program to its end; it is killed when whoever waits for it is cancelled.

    Raises:
        ChildError: it failed, or took too long.
    """
    leaving = threading.Event()

    def work() -> None:
        run_once(command, environment=environment, within=LONGEST_SECONDS, halted=leaving.is_set)

    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        leaving.set()
        # Its files are about to be removed: not before it is gone.
        with suppress(Halted, ChildError):
            await working
        raise


def client(program: str, major: int) -> Path:
    """The oldest program of this name here that is as new as a server, and that it understands.

    Raises:
        SetupError: there is none.
    """
    known = _known(program, major)
    understood = program != "pg_restore" or major >= TRANSACTION_TIMEOUT
    fit = [
        path
        for path, its in known.items()
        if its >= major and (understood or its < TRANSACTION_TIMEOUT)
    ]
    if not fit:
        raise SetupError(
            f"no {program} here goes with PostgreSQL {major}; install postgresql-client-{major}"
        )
    return min(fit, key=known.__getitem__)


def server(program: str, major: int) -> Path:
    """A program that goes with a server of exactly this version.

    Raises:
        SetupError: there is none.
    """
    for path, its in _known(program, major).items():
        if its == major:
            return path
    raise SetupError(
        f"there is no {program} of PostgreSQL {major} here, which alone can do that; install "
        f"postgresql-{major}, whose programs are enough: it need not run"
    )


def address(uri: str) -> str:
    """A URI as libpq takes it, without its password."""
    plain = make_url(uri).set(drivername="postgresql")._replace(password=None)
    return plain.render_as_string(hide_password=False)


def _known(program: str, major: int) -> dict[Path, int]:
    """Where a program is, with its version."""
    found = shutil.which(program)
    paths = [
        DEBIAN / str(major) / "bin" / program,
        *([Path(found)] if found else []),
        postgres_programs(serving_account()) / program,
    ]
    return {path: _major_of(path) for path in paths if path.exists()}


def _major_of(program: Path) -> int:
    return int(re.findall(r"\d+", run_once([str(program), "--version"]))[0])
