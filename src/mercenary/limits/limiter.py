"""A worker's leases, and how they are got from Valkey.

Use one `Limiter` a process, and one `Quota` of it for each policy:

    lease = quota.lease_of(user_id)
    granted = lease.spend(monotonic())
    if granted is None:
        granted = await quota.obtain(lease)

What the limits do without Valkey: a worker grants a caller what it had leased, and beyond that as
much that it comes to `limit // workers` in a window. So workers that have leased no more stay
within the limit together. What each granted alone is told to Valkey when the caller comes by after
its return.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mercenary.batching import Batch, Lanes
from mercenary.cache import valkey
from mercenary.cache.valkey import Argument, Script, ValkeyAway
from mercenary.errors import DeadlineExceeded, Overloaded
from mercenary.limits.lease import GRANT, Lease
from mercenary.limits.policy import Policy
from mercenary.settings import Settings

_GRANT = Script(GRANT)
_ANSWERS = 3


@dataclass(slots=True)
class LimitMeasures:
    """What one process has counted of its limits since it started."""

    refused: int = 0
    """Requests over a limit."""
    alone: int = 0
    """Requests granted or refused by the worker's own share, because Valkey was away."""
    forgotten: int = 0
    """Leases that still held and had to make room; their shares are lost until the window ends."""


class Limiter:
    """What the quotas of a process share: the batch that asks Valkey, its clock, the measures."""

    def __init__(self, settings: Settings) -> None:
        self.workers = settings.limit_workers or settings.workers
        self.measures = LimitMeasures()
        self._callers = settings.limit_callers
        # What Valkey's clock shows when the monotonic one shows 0; until it is known, our own.
        self._clock = time.time() - time.monotonic()
        self._batch: Batch[Lease, None] = Batch(
            self.grant,
            name="limits",
            lanes=Lanes(1),
            # One at a time, so that a lease is never in two.
            parallel=1,
            share_equal=True,
            deadline=settings.valkey_timeout,
            splits=lambda _: False,
        )

    def quota(self, policy: Policy) -> "Quota":
        """The leases of one policy."""
        return Quota(self, policy, self._callers)

    def epoch(self, now: float) -> float:
        """Seconds since 1970 by Valkey's clock, from those of the monotonic one."""
        return self._clock + now

    async def obtain(self, lease: Lease) -> bool:
        """Grant or refuse a request for which there is nothing at hand."""
        while not valkey.current().away:
            lease.waiting += 1
            try:
                await self._batch.ask(lease)
            except (ValkeyAway, Overloaded, DeadlineExceeded):
                break
            finally:
                lease.waiting -= 1
            granted = lease.spend(time.monotonic())
            if granted is not None:
                return granted
        return self._decide_alone(lease)

    async def grant(self, leases: Sequence[Lease]) -> Sequence[None]:
        """Get what leases need: one trip for all, which the batch makes.

        Raises:
            ValkeyAway: there is no answer; nothing has changed here, whatever has there.
        """
        arguments: list[Argument] = [2 * self.workers]
        asked = [lease.ask() for lease in leases]
        for ask in asked:
            arguments += ask
        sent = time.monotonic()
        seconds, micros, *answers = await valkey.current().run(
            _GRANT, [lease.key for lease in leases], arguments
        )
        epoch = int(seconds) + int(micros) / 1e6
        self._clock = epoch - sent
        for number, (lease, ask) in enumerate(zip(leases, asked, strict=True)):
            granted, free, since = answers[number * _ANSWERS : (number + 1) * _ANSWERS]
            lease.take(sent, epoch, ask[-1], granted, free, since)
        return [None] * len(leases)

    async def close(self) -> None:
        """Let what is under way finish."""
        self._batch.close()
        await self._batch.drain()

    def _decide_alone(self, lease: Lease) -> bool:
        now = time.monotonic()
        granted = lease.spend(now)
        if granted is None:
            self.measures.alone += 1
            share = lease.policy.limit // self.workers
            granted = lease.spend_alone(now, self.epoch(now), share)
        return granted


class Quota:
    """One policy's leases in this worker, the ones asked for longest ago first."""

    def __init__(self, limiter: Limiter, policy: Policy, callers: int) -> None:
        self.policy = policy
        self._limiter = limiter
        self._callers = callers
        self._leases: dict[int | str, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def lease_of(self, subject: int | str) -> Lease:
        """The lease of a caller, who may have come for the first time."""
        lease = self._leases.get(subject)
        if lease is None:
            self._make_room()
            lease = self._leases[subject] = Lease(self.policy, subject)
        return lease

    async def obtain(self, lease: Lease) -> bool:
        """Grant or refuse a request for which `lease.spend` found nothing at hand."""
        granted = await self._limiter.obtain(lease)
        if self._leases.get(lease.subject) is lease:
            del self._leases[lease.subject]
            self._leases[lease.subject] = lease  # behind all others, since its window ends last
        return granted

    def _make_room(self) -> None:
        """Drop leases whose window is over: two for each that comes; and the oldest at the worst.

        A lease that is dropped takes what it holds along, so that nothing is granted twice.
        """
        now = time.monotonic()
        for _ in range(2):
            oldest = next(iter(self._leases.values()), None)
            if oldest is None:
                return
            over = oldest.ends <= now and not oldest.waiting
            if not over and len(self._leases) < self._callers:
                return
            self._limiter.measures.forgotten += not over
            del self._leases[oldest.subject]
