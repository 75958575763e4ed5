"""One question to a server that may not answer, asked once for however many want to know."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from mercenary.errors import Unavailable

T = TypeVar("T")


class Probe(Generic[T]):
    """Asks in a task of its own that no caller cancels, since that could lose its connection.

    Whoever asks while a question is under way waits for the same answer, so that a server that
    hangs holds one connection, however often it is asked about.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], *, what: str, seconds: float) -> None:
        self._ask = ask
        self._what = what
        self._seconds = seconds
        self._asking: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """The answer.

        Raises:
            Unavailable: the server failed, or took longer than `seconds`.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._answer())
            self._asking.add_done_callback(_look_at)
        asking = self._asking
        await asyncio.wait({asking}, timeout=self._seconds)
        if not asking.done():
            raise Unavailable(f"The {self._what} doesn't answer.", retry_after=2)
        error = asking.exception()
        if error is not None:
            raise Unavailable(f"The {self._what} can't be reached.", retry_after=2) from error
        return asking.result()

    async def close(self) -> None:
        """Let a question that is under way finish; give it up when it takes too long."""
        if self._asking is not None:
            _, late = await asyncio.wait({self._asking}, timeout=self._seconds)
            for asking in late:
                asking.cancel()
                await asyncio.wait({asking})

    async def _answer(self) -> T:
        return await self._ask()


def _look_at(asked: asyncio.Task[T]) -> None:
    # All who wanted to know may have gone by now; a failure isn't news to the log then.
    if not asked.cancelled():
        asked.exception()
