"""`statement_timeout` follows the time left: no work on what nobody will wait for.

A connection has the settings' `statement_timeout`. Only a batch whose callers have less time left
than that sets its own, which costs a trip of its own; the ordinary batch pays nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import Boolean, Text, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary import sojourn
from mercenary.errors import DeadlineExceeded

_SET = select(
    func.set_config(
        "statement_timeout",
        bindparam("milliseconds", type_=Text()),
        bindparam("local", type_=Boolean()),
    )
)


@asynccontextmanager
async def reading_in_time(
    connection: AsyncConnection, usual: float, *, pooled: bool
) -> AsyncIterator[None]:
    """Let each statement of the block take the time left, and never more than `usual` seconds.

    Behind a pooler the block is one transaction, whose end takes the setting back.

    Raises:
        DeadlineExceeded: there is none left.
    """
    left = _time_left()
    if left >= usual:
        yield
        return
    await _set(connection, left, local=pooled)
    if pooled:
        yield
        return
    try:
        yield
    finally:
        if not connection.invalidated:
            await _set(connection, usual, local=False)


@asynccontextmanager
async def changing_in_time(connection: AsyncConnection, usual: float) -> AsyncIterator[None]:
    """The same within a transaction. What comes after the block, the COMMIT, has `usual` again.

    Raises:
        DeadlineExceeded: there is no time left.
    """
    left = _time_left()
    if left >= usual:
        yield
        return
    await _set(connection, left, local=True)
    yield  # an error rolls the transaction back, and the setting with it
    await _set(connection, usual, local=True)


def _time_left() -> float:
    stay = sojourn.current()
    if stay is None:
        return float("inf")
    left = stay.deadline - asyncio.get_running_loop().time()
    if left <= 0:
        raise DeadlineExceeded
    return left


async def _set(connection: AsyncConnection, seconds: float, *, local: bool) -> None:
    milliseconds = str(max(1, round(seconds * 1000)))  # 0 would mean no limit at all
    await connection.execute(_SET, {"milliseconds": milliseconds, "local": local})
