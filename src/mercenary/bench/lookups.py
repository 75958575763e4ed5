"""The same work through our tiers and through cashews (https://github.com/Krukov/cashews).

Look a project up by its id, read it from PostgreSQL on a miss, and forget it by its tag after a
change; both on the same Valkey and with the same reads and changes underneath. What differs is
what stands between, which for cashews are its two ways: with memory beside Valkey («client side
caching», told by Valkey's invalidation messages), and Valkey alone.
"""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

import msgspec
from cashews import Cache
from cashews.backends.memory import Memory as CashewsMemory
from cashews.backends.redis import Redis as CashewsRedis
from cashews.backends.redis.client_side import BcastClientSide
from cashews.picklers import PicklerType
from cashews.wrapper.backend_settings import register_backend

from mercenary import settings
from mercenary.bench import zipf
from mercenary.bench.costs import OURS, Cost
from mercenary.bench.traffic import WRITE_SHARE
from mercenary.cache.results import cached_query
from mercenary.http.access import Caller, UserId
from mercenary.projects.schemas import Project, ProjectId, ProjectPatch
from mercenary.projects.service import Change, change_project, find_project

KEYS: Final = 20_000
_AT_ONCE: Final = 16
_SECONDS: Final = 300
_ADMIN: Final = Caller(UserId(1), "admin")


class Lookup(msgspec.Struct, frozen=True):
    """A cache: `get` gives a project, `forget` drops what shows it; `fills` counts reads."""

    name: str
    get: Callable[[int], Awaitable[Project | None]]
    forget: Callable[[int], Awaitable[None]]
    fills: Counter[str]


async def measure(ids: Sequence[int], rounds: int, lookups: int) -> list[Cost]:
    """Measure all three in turn; `lookups` in each round, and one in a hundred is a change."""
    keys = list(ids[:KEYS])
    drawn = zipf.draw(keys, lookups)
    async with _ours() as ours, _cashews(memory=True) as both, _cashews(memory=False) as alone:
        contenders = (ours, both, alone)
        costs = {one.name: Cost(one.name, [], [], {"fills": 0, "asked": 0}) for one in contenders}
        for one in contenders:
            await _ask(one, drawn, Random(0))  # noqa: S311 - a workload, no secret
        for number in range(1, rounds + 1):
            for one in contenders:
                cost = costs[one.name]
                filled = one.fills.total()
                gc.collect()
                began, used = time.perf_counter(), time.process_time()
                await _ask(one, drawn, Random(number))  # noqa: S311 - the same for all
                cost.microseconds.append((time.process_time() - used) / lookups * 1e6)
                cost.rate.append(lookups / (time.perf_counter() - began))
                cost.found["fills"] += one.fills.total() - filled
                cost.found["asked"] += lookups
    return list(costs.values())


async def _ask(lookup: Lookup, drawn: Sequence[int], source: Random) -> None:
    waiting = iter(drawn)

    async def take_turns() -> None:
        for id in waiting:
            if source.random() < WRITE_SHARE:
                patch = ProjectPatch(description=f"Changed to {source.random()}")
                await change_project(Change(_ADMIN, ProjectId(id), patch))
                await lookup.forget(id)
            else:
                await lookup.get(id)

    await asyncio.gather(*(take_turns() for _ in range(_AT_ONCE)))


@asynccontextmanager
async def _ours() -> AsyncIterator[Lookup]:
    fills = Counter[str]()

    @cached_query(name="bench_project", tags=lambda id: (f"project:{id}",), seconds=_SECONDS)
    async def project(id: int) -> Project | None:
        fills["reads"] += 1
        return await find_project((id, None))

    async def forget(_: int) -> None:
        """The change has told the tag's clock."""

    yield Lookup(OURS, project, forget, fills)


@asynccontextmanager
async def _cashews(*, memory: bool) -> AsyncIterator[Lookup]:
    fills = Counter[str]()
    cache = Cache()
    # It takes addresses of sockets, too, and only doesn't know their scheme.
    register_backend("unix", _backend, pass_uri=True, pickler=PicklerType.DEFAULT)
    url = settings.get().cache_config.default.cache_redis_url
    size: dict[str, Any] = {"max_connections": _AT_ONCE}
    if memory:
        size["local_cache"] = CashewsMemory(size=2 * KEYS)
    name = "cashews" if memory else "cashews, Valkey alone"
    cache.setup(url, client_side=memory, **size)

    @cache(ttl=_SECONDS, key=f"{name}:{{id}}", tags=["project:{id}"])
    async def project(id: int) -> Project | None:
        fills["reads"] += 1
        return await find_project((id, None))

    async def forget(id: int) -> None:
        await cache.delete_tags(f"project:{id}")

    await cache.init(url)
    try:
        yield Lookup(name, project, forget, fills)
    finally:
        await cache.close()


def _backend(*, client_side: bool = False, **given: Any) -> CashewsRedis:
    return BcastClientSide(**given) if client_side else CashewsRedis(**given)
