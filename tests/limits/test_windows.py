"""A window's end: the quota is whole again, and nothing of the old one is spent in the new."""

import asyncio
import time
from collections import Counter
from uuid import uuid4

from mercenary.cache.valkey import Valkey
from mercenary.limits.limiter import Limiter
from mercenary.limits.policy import Policy
from mercenary.settings import Settings
from tests.limits.conftest import PATIENCE


async def test_each_window_has_the_limit_and_no_more(in_use: Valkey) -> None:
    limit = 200
    policy, subject = Policy("short", limit, 1), uuid4().hex
    limiters = [Limiter(Settings(limit_workers=2, valkey_timeout=PATIENCE)) for _ in range(2)]
    quotas = [limiter.quota(policy) for limiter in limiters]
    granted: Counter[int] = Counter()
    used_up: set[int] = set()
    async with asyncio.timeout(30):
        while len(used_up) < 3:
            refusals = []
            for quota in quotas:
                lease = quota.lease_of(subject)
                allowed = lease.spend(time.monotonic())
                if allowed is None:
                    allowed = await quota.obtain(lease)
                granted[lease.index] += allowed
                refusals += [] if allowed else [lease.index]
            if refusals == [lease.index] * len(quotas):
                used_up.add(lease.index)
                await asyncio.sleep(0.005)
    assert {granted[index] for index in used_up} == {limit}
    assert max(granted.values()) == limit
    for limiter in limiters:
        await limiter.close()


async def test_callers_beyond_the_bound_make_room_for_each_other(in_use: Valkey) -> None:
    bound = 16
    limiter = Limiter(Settings(limit_callers=bound, valkey_timeout=PATIENCE))
    policy = Policy(uuid4().hex, 1, 3600)
    quota = limiter.quota(policy)
    for caller in range(3 * bound):
        assert await quota.obtain(quota.lease_of(caller))
        assert len(quota) <= bound
    assert limiter.measures.forgotten == 2 * bound
    # Who was forgotten is still known to Valkey, and refused.
    assert not await quota.obtain(quota.lease_of(0))
    await limiter.close()


async def test_callers_whose_window_is_over_are_forgotten(in_use: Valkey) -> None:
    limiter = Limiter(Settings(limit_callers=1_000, valkey_timeout=PATIENCE))
    quota = limiter.quota(Policy(uuid4().hex, 10, 1))
    for caller in range(100):
        await quota.obtain(quota.lease_of(caller))
    last = quota.lease_of(99)
    async with asyncio.timeout(10):
        while time.monotonic() < last.ends:  # noqa: ASYNC110 - time must pass
            await asyncio.sleep(0.01)
    for caller in range(1_000, 1_100):
        quota.lease_of(caller)
    assert len(quota) <= 101
    assert limiter.measures.forgotten == 0
    await limiter.close()


async def test_a_counter_that_valkey_cannot_read_is_as_good_as_none(in_use: Valkey) -> None:
    limiter = Limiter(Settings(limit_workers=2, valkey_timeout=PATIENCE))
    quota = limiter.quota(Policy(uuid4().hex, 10, 3600))
    lease = quota.lease_of("somebody")
    await in_use.ask(lambda redis: redis.set(lease.key, "junk", ex=60))
    decided = [await quota.obtain(lease) for _ in range(7)]
    assert decided == [True] * 5 + [False] * 2
    assert limiter.measures.alone == 7
    async with asyncio.timeout(10):
        while in_use.away:  # noqa: ASYNC110 - it is for the way to find out
            await asyncio.sleep(0.01)
    await limiter.close()
