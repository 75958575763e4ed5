"""Leases against a plain counter: whatever happens, what was granted is what the counter lost."""

import time
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from mercenary.cache.valkey import Valkey
from mercenary.limits.lease import Lease
from mercenary.limits.limiter import Limiter, Quota
from mercenary.limits.policy import Policy
from mercenary.local.valkey import EmbeddedValkey
from mercenary.settings import Settings
from tests.limits.conftest import PATIENCE
from tests.limits.flood import YEAR

WORKERS = 3
steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "ask", "many", "die", "lose"]),
        st.integers(0, WORKERS - 1),
    ),
    max_size=60,
)


class Workers:
    """Three workers, one caller, and a counter of what they granted and what they took along."""

    def __init__(self, limit: int) -> None:
        self.policy = Policy("model", limit, YEAR)
        self.subject = uuid4().hex
        self.granted = self.lost = 0
        self.limiters = [self._new() for _ in range(WORKERS)]

    def _new(self) -> tuple[Limiter, Quota]:
        limiter = Limiter(Settings(limit_workers=WORKERS, valkey_timeout=PATIENCE))
        return limiter, limiter.quota(self.policy)

    def lease(self, number: int) -> Lease:
        return self.limiters[number][1].lease_of(self.subject)

    async def ask(self, number: int) -> bool:
        """Have a worker decide about a request."""
        lease = self.lease(number)
        granted = lease.spend(time.monotonic())
        if granted is None:
            granted = await self.limiters[number][1].obtain(lease)
        self.granted += granted
        return granted

    async def die(self, number: int) -> None:
        """Kill a worker and start another."""
        self.lost += self.lease(number).left
        await self.limiters[number][0].close()
        self.limiters[number] = self._new()

    async def lose(self, number: int) -> None:
        """A worker asks, and the reply never comes: the lease stays as it was."""
        lease = self.lease(number)
        before = {name: getattr(lease, name) for name in Lease.__slots__}
        lease.waiting = 1
        await self.limiters[number][0].grant([lease])
        if lease.index == before["index"]:
            self.lost += lease.taken - before["taken"]
        else:
            self.lost += lease.taken
        for name, value in before.items():
            setattr(lease, name, value)

    async def close(self) -> None:
        for limiter, _ in self.limiters:
            await limiter.close()


@settings(max_examples=60, deadline=None)
@given(limit=st.integers(1, 300), steps=steps)
async def test_what_is_granted_held_and_lost_is_what_the_counter_says(
    in_use: Valkey,
    valkey: EmbeddedValkey,
    limit: int,
    steps: list[tuple[str, int]],
) -> None:
    workers = Workers(limit)
    for step, number in steps:
        match step:
            case "ask":
                await workers.ask(number)
            case "many":
                for _ in range(limit // 3):
                    await workers.ask(number)
            case "die":
                await workers.die(number)
            case "lose":
                await workers.lose(number)
        held = sum(workers.lease(each).left for each in range(WORKERS))
        with Redis.from_url(valkey.url()) as redis:
            used = int(redis.hget(workers.lease(0).key, "used") or 0)
        assert workers.granted + held + workers.lost == used <= limit
    for number in range(WORKERS):
        while await workers.ask(number):
            pass
    assert workers.granted + workers.lost == limit
    await workers.close()
