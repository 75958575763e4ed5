"""`mercenary bench limits`: what it costs to count a request against its caller's limits.

The layer of the edge is called by itself, on a private Valkey, and a loop around nothing is taken
off. Times are processor time of this process: what a worker has less for everything else.
"""

import asyncio
import gc
import shutil
import time
import tracemalloc
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

import msgspec
import uvloop
from starlette.types import Receive, Scope, Send

from mercenary.cache import valkey
from mercenary.edge.rate_limit import RateLimit
from mercenary.http.access import GUEST, Caller, UserId
from mercenary.http.endpoint import SENSITIVE, STANDARD, Rate
from mercenary.limits.limiter import Limiter
from mercenary.limits.policy import users
from mercenary.local.stack import temporary_folder
from mercenary.local.valkey import EmbeddedValkey
from mercenary.settings import Settings

MOST_MICROSECONDS: Final = 5.0
"""What a request in the common case may cost."""
_ROUNDS: Final = 7
REQUESTS: Final = 50_000
_CALLERS: Final = 10_000
_AT_ONCE: Final = 64
# So high that refills don't show.
_PLENTY: Final = 1_000_000
# Far from a busy machine's hiccups, which are no outage.
_PATIENCE: Final = 10.0


class Row(NamedTuple):
    """One kind of request: µs of this process a request, and trips to Valkey for 1,000 requests."""

    name: str
    microseconds: Sequence[float]
    trips: float
    bound: float | None = None


class _Endpoint(msgspec.Struct, frozen=True):
    rate: Rate


class _Invocation(msgspec.Struct, frozen=True):
    endpoint: _Endpoint


def measure(requests: int = REQUESTS) -> list[Row]:
    """Measure all kinds in several rounds of so many requests.

    Raises:
        ChildError: Valkey doesn't start.
    """
    folder = temporary_folder()
    server = EmbeddedValkey(folder)
    server.start()
    try:
        return uvloop.run(_measure(server.url(), requests))
    finally:
        server.stop()
        shutil.rmtree(folder)


def met(rows: Sequence[Row]) -> bool:
    """Whether every kind that has a bound keeps to it."""
    return all(row.bound is None or median(row.microseconds) <= row.bound for row in rows)


def as_markdown(rows: Sequence[Row]) -> str:
    """A table for docs/figures.md."""
    lines = ["| request | µs (min to max) | trips for 1,000 | wanted |", "|---|---:|---:|---|"]
    for name, times, trips, bound in rows:
        wanted = "" if bound is None else f"≤ {bound:g} µs"
        spread = f"{median(times):.1f} ({min(times):.1f} to {max(times):.1f})"
        lines.append(f"| {name} | {spread} | {trips:.1f} | {wanted} |")
    lines += ["", f"A caller that is remembered takes {_bytes_per_caller():.0f} bytes of a worker."]
    return "\n".join(lines)


async def _measure(url: str, requests: int) -> list[Row]:
    valkey.use(valkey.Valkey(url, seconds=_PATIENCE))
    gc.collect()
    try:
        return await _measure_all(requests)
    finally:
        await valkey.current().close()
        valkey.use(None)


async def _measure_all(requests: int) -> list[Row]:
    plenty = Settings(user_limit=_PLENTY, guest_limit=_PLENTY, sensitive_limit=_PLENTY)
    ada = Caller(UserId(1), "client")
    return [
        await _one_caller("a user's, with a share at hand", plenty, ada, STANDARD, requests),
        await _one_caller("a guest's, with a share at hand", plenty, GUEST, STANDARD, requests),
        await _one_caller("a sensitive one, with two at hand", plenty, ada, SENSITIVE, requests),
        await _whole_limit(),
        await _first_requests(min(requests, _CALLERS)),
    ]


async def _one_caller(
    name: str, settings: Settings, caller: Caller, rate: Rate, requests: int
) -> Row:
    layer = RateLimit(_nothing, settings, Limiter(settings))

    async def ask(app: Callable[..., Awaitable[None]]) -> None:
        scope = _scope(caller, rate)
        for _ in range(requests):
            scope["answer_headers"] = []
            await app(scope, _never, _never)

    await ask(layer)  # takes the largest share
    calls = valkey.current().measures.calls
    times = []
    for _ in range(_ROUNDS):
        around = await _microseconds(ask(_nothing), requests)
        times.append(await _microseconds(ask(layer), requests) - around)
    trips = (valkey.current().measures.calls - calls) / _ROUNDS / requests * 1000
    return Row(name, times, trips, MOST_MICROSECONDS)


async def _whole_limit() -> Row:
    """A user's whole hour of requests under the limits as shipped, one after another."""
    settings = Settings(valkey_timeout=_PATIENCE)
    layer = RateLimit(_nothing, settings, Limiter(settings))
    calls = valkey.current().measures.calls

    async def ask(number: int) -> None:
        scope = _scope(Caller(UserId(2 + number), "client"), STANDARD)
        for _ in range(settings.user_limit):
            scope["answer_headers"] = []
            await layer(scope, _never, _never)

    times = [await _microseconds(ask(number), settings.user_limit) for number in range(_ROUNDS)]
    trips = (valkey.current().measures.calls - calls) / _ROUNDS / settings.user_limit * 1000
    return Row("each of a user's 10,000, refills included", times, trips)


async def _first_requests(callers: int) -> Row:
    """Callers that come for the first time, 64 at once: each needs a lease, many share a trip."""
    settings = Settings(valkey_timeout=_PATIENCE)
    layer = RateLimit(_nothing, settings, Limiter(settings))
    calls = valkey.current().measures.calls

    async def ask(first: int) -> None:
        coming = iter(range(first, first + callers))

        async def one_after_another() -> None:
            for caller in coming:
                await layer(_scope(Caller(UserId(caller), "client"), STANDARD), _never, _never)

        await asyncio.gather(*(one_after_another() for _ in range(_AT_ONCE)))

    times = [
        await _microseconds(ask(number * _CALLERS), callers) for number in range(1, _ROUNDS + 1)
    ]
    trips = (valkey.current().measures.calls - calls) / _ROUNDS / callers * 1000
    return Row("a caller's first in an hour, 64 callers at once", times, trips)


async def _microseconds(work: Awaitable[None], requests: int) -> float:
    """Of this process's processor time, a request."""
    begun = time.process_time()
    await work
    return (time.process_time() - begun) / requests * 1e6


def _scope(caller: Caller, rate: Rate) -> MutableMapping[str, Any]:
    return {
        "type": "http",
        "invocation": _Invocation(_Endpoint(rate)),
        "caller": caller,
        "refusal": None,
        "client_address": "203.0.113.7",
        "answer_headers": [],
    }


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The rest of the application."""


async def _never(*_: Any) -> Any:
    """Stands where nothing is received or sent: counting a request reads and answers nothing."""
    raise AssertionError("counting a request asked for its body or sent an answer")


def _bytes_per_caller() -> float:
    settings = Settings()
    quota = Limiter(settings).quota(users(settings))
    tracemalloc.start()
    for number in range(_CALLERS):
        lease = quota.lease_of(number + 1000)
        # As it is once Valkey has answered: numbers of its own, not the small ones Python shares.
        lease.take(0.0, 1.79e9 + number, 0, 1000 + number, 5000 + number, 10**15 + number)
        lease.ends = float(10**9 + number)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / _CALLERS
