"""Removing what is over, a little at a time, by one cleaner at a time.

A chore is given a transaction and a number of rows, deals with about as many at most, and returns
how many it was; 0 says that nothing is left. Each call commits, so a cleaner may be killed at any
moment, and the next one goes on where it was.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from sqlalchemy import Text, cast, func, literal, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.engine import Database
from mercenary.db.faults import as_problem, sqlstate
from mercenary.db.outbox import telling

Chore = Callable[[AsyncConnection, int], Awaitable[int]]

# Held by a transaction, never by a session: it ends with a killed cleaner, and behind a pooler.
LOCK_KEY: Final = int.from_bytes(b"cleaning", "big")
# Cleaning can wait for another day; whoever it would hold up can't.
LOCK_MILLISECONDS: Final = 250
_LOCK_NOT_AVAILABLE: Final = "55P03"

_TAKE_TURN = select(
    func.set_config("lock_timeout", cast(literal(str(LOCK_MILLISECONDS)), Text), true()),
    func.pg_try_advisory_xact_lock(literal(LOCK_KEY)).label("mine"),
)


class Cleaned(msgspec.Struct):
    """What a cleaning came to: rows by chore, and whether it got to the end of each.

    `turned_away`: another cleaner was at work. `postponed`: what others held locked for too long.
    """

    rows: dict[str, int]
    turned_away: bool = False
    postponed: list[str] = []


async def clean(
    database: Database,
    chores: Mapping[str, Chore],
    *,
    rows: int,
    pause: float,
    stopping: asyncio.Event,
) -> Cleaned:
    """Do the chores in their order, `rows` a transaction, with `pause` seconds in between.

    Ends early, and without a fault, when `stopping` is set or another cleaner is at work.

    Raises:
        Unavailable: the database is away.
        DeadlineExceeded: a statement took longer than the settings allow.
    """
    cleaned = Cleaned(dict.fromkeys(chores, 0))
    for name, chore in chores.items():
        while not stopping.is_set():
            try:
                done = await _turn(database, chore, rows)
            except Exception as error:
                if sqlstate(error) != _LOCK_NOT_AVAILABLE:
                    raise as_problem(error) from error
                cleaned.postponed.append(name)
                break
            if done is None:
                cleaned.turned_away = True
                return cleaned
            if done == 0:
                break
            cleaned.rows[name] += done
            await _rest(pause, stopping)
    return cleaned


async def _turn(database: Database, chore: Chore, rows: int) -> int | None:
    """One transaction of a chore; None when it is another cleaner's turn."""
    async with database.connecting() as connection, connection.begin():
        turn = (await connection.execute(_TAKE_TURN)).one()
        if not turn.mine:
            return None
        async with telling(connection):
            return await chore(connection, rows)


async def _rest(seconds: float, stopping: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
