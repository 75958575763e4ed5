"""Many callers at the same moment, each with a connection of its own.

Use it to see what becomes of those who come all at once; their connections are open beforehand. For
load over time there are `load` and `open_load`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, cast

from mercenary.bench.generator import GeneratorError
from mercenary.bench.http_answers import AnswerReader
from mercenary.bench.traffic import Target

# So many connections are opened at once; a server takes them up one after the other.
_OPENED_AT_ONCE: Final = 50
NO_ANSWER: Final = 0
_END: Final = "\r\n"


class Seen(NamedTuple):
    """An answer: its status (`NO_ANSWER` for none), the number of X-Cache's word, milliseconds."""

    status: int
    cache: int
    took_ms: float


class Caller(asyncio.Protocol):
    """One connection, which asks one thing at a time."""

    def __init__(self) -> None:
        self._reader = AnswerReader()
        self._answer: asyncio.Future[Seen] | None = None
        self._asked = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready to ask."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own isn't a subclass

    def ask(self, request: bytes) -> "asyncio.Future[Seen]":
        """Send a request now; gives what will be seen of its answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._asked = time.perf_counter()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Take the next part of an answer."""
        answer = self._reader.feed(data)
        if answer is not None:
            self._see(answer.status, answer.cache)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody will answer any more."""
        del exc
        self._see(NO_ANSWER, 0)

    def leave(self) -> None:
        """Hang up."""
        self._transport.abort()

    def _see(self, status: int, cache: int) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(Seen(status, cache, (time.perf_counter() - self._asked) * 1000))


@asynccontextmanager
async def callers(target: Target, count: int) -> AsyncIterator[list[Caller]]:
    """So many callers, all connected, gone afterwards.

    Raises:
        GeneratorError: the server doesn't take so many.
    """
    loop = asyncio.get_running_loop()
    connected: list[Caller] = []
    try:
        while len(connected) < count:
            few = min(_OPENED_AT_ONCE, count - len(connected))
            made = await asyncio.gather(
                *(loop.create_connection(Caller, target.host, target.port) for _ in range(few))
            )
            connected += [caller for _, caller in made]
        yield connected
    except OSError as error:
        raise GeneratorError(f"only {len(connected)} could connect: {error}") from error
    finally:
        for caller in connected:
            caller.leave()


async def at_once(callers: Sequence[Caller], requests: Sequence[bytes]) -> list[Seen]:
    """What each sees that asks its request at the same moment as the others."""
    return await asyncio.gather(
        *[caller.ask(request) for caller, request in zip(callers, requests, strict=True)]
    )


async def again_and_again(
    callers: Sequence[Caller], requests: Sequence[bytes], seconds: float
) -> list[Seen]:
    """What all see that ask their requests for so many seconds, again once they are answered."""
    end = time.perf_counter() + seconds
    seen: list[Seen] = []

    async def keep_asking(caller: Caller, request: bytes) -> None:
        while time.perf_counter() < end:
            answer = await caller.ask(request)
            seen.append(answer)
            if answer.status == NO_ANSWER:
                return

    await asyncio.gather(*map(keep_asking, callers, requests))
    return seen


async def each_once(callers: Sequence[Caller], requests: Iterable[bytes]) -> list[Seen]:
    """What is seen of all these requests, which the callers share among themselves."""
    waiting = iter(requests)
    seen: list[Seen] = []

    async def take_turns(caller: Caller) -> None:
        for request in waiting:
            answer = await caller.ask(request)
            seen.append(answer)

    await asyncio.gather(*map(take_turns, callers))
    return seen


def compose(
    method: str,
    path: str,
    target: Target,
    token: str,
    *,
    body: str | None = None,
    lines: Sequence[str] = (),
) -> bytes:
    """A request's bytes; `lines` are further ones of its head."""
    head = (
        f"{method} {target.prefix}{path} HTTP/1.1\r\nHost: {target.authority}\r\n"
        f"Authorization: Bearer {token}\r\n{''.join(f'{line}{_END}' for line in lines)}"
    )
    if body is None:
        return f"{head}\r\n".encode()
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return f"{head}{length}{body}".encode()
