"""Counts each request against its caller's limits, and refuses those over them.

Every answer tells the limits: `RateLimit-Policy` and `RateLimit` (IETF draft «RateLimit header
fields for HTTP») each of them, the older `X-RateLimit-…` the tightest. What is left is told as far
as this worker knows; it may lag behind what others have granted.
"""

from time import monotonic
from typing import NoReturn

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary.edge.client_address import counted_as
from mercenary.errors import TooManyRequests
from mercenary.http.access import Caller
from mercenary.http.endpoint import SENSITIVE, STANDARD, UNLIMITED
from mercenary.limits import policy
from mercenary.limits.lease import Lease
from mercenary.limits.limiter import Limiter
from mercenary.limits.policy import Policy
from mercenary.settings import Settings

AWAY_SECONDS = 5
"""When to try again at the latest, if the limit may not be reached but for Valkey being away."""


class RateLimit:
    """Grants or refuses a request, once it is known who calls.

    Credentials that aren't good count as a guest's at the address that they came from; that is why
    they are refused here, and not where they are read. A path that leads nowhere counts, too.
    """

    def __init__(self, app: ASGIApp, settings: Settings, limiter: Limiter) -> None:
        self.app = app
        self._measures = limiter.measures
        guests, users = policy.guests(settings), policy.users(settings)
        sensitive = policy.sensitive(settings)
        self._guests, self._users = limiter.quota(guests), limiter.quota(users)
        self._sensitive = limiter.quota(sensitive)
        self._texts = {each.name: _Texts(each) for each in (guests, users, sensitive)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the request and pass it on.

        Raises:
            TooManyRequests: it is over a limit.
            ProblemError: what Identity found wrong with the caller's credentials.
        """
        if scope["type"] == "http":
            invocation = scope["invocation"]
            rate = STANDARD if invocation is None else invocation.endpoint.rate
            if rate is not UNLIMITED:
                count = self._count_sensitive if rate is SENSITIVE else self.count
                await count(scope, scope["caller"])
            if scope["refusal"] is not None:
                raise scope["refusal"]
        await self.app(scope, receive, send)

    async def count(self, scope: Scope, caller: Caller) -> None:
        """Count a request of a caller against the general limit.

        Raises:
            TooManyRequests: it is over the limit.
        """
        lease, granted = await self._spend(scope, caller)
        now = monotonic()
        self._tell(scope, lease, now, lease.left + lease.beyond if granted else 0)
        if not granted:
            self._refuse(lease, now)

    async def _spend(self, scope: Scope, caller: Caller) -> tuple[Lease, bool]:
        """The lease of whom a request counts against, and whether that grants it."""
        subject, quota = _subject(scope, caller), self._users
        if caller.id is None:
            quota = self._guests
        lease = quota.lease_of(subject)
        granted = lease.spend(monotonic())
        return lease, await quota.obtain(lease) if granted is None else granted

    def _tell(self, scope: Scope, lease: Lease, now: float, left: int) -> None:
        texts = self._texts[lease.policy.name]
        scope["answer_headers"] += (
            texts.policy,
            (b"ratelimit", texts.left % (left, lease.ends - now + 1)),
            texts.limit,
            (b"x-ratelimit-remaining", b"%d" % left),
            (b"x-ratelimit-reset", b"%d" % lease.reset),
        )

    async def _count_sensitive(self, scope: Scope, caller: Caller) -> None:
        """Count a request against the general limit and, if that grants it, the sensitive one."""
        general, granted = await self._spend(scope, caller)
        if not granted:
            now = monotonic()
            self._tell(scope, general, now, 0)
            self._refuse(general, now)
        lease = self._sensitive.lease_of(_subject(scope, caller))
        spent = lease.spend(monotonic())
        granted = await self._sensitive.obtain(lease) if spent is None else spent
        now = monotonic()
        left = lease.remaining if granted else 0
        tightest, least = (
            (lease, left) if left <= general.remaining else (general, general.remaining)
        )
        first, second = (self._texts[each.policy.name] for each in (general, lease))
        scope["answer_headers"] += (
            (b"ratelimit-policy", first.policy[1] + b", " + second.policy[1]),
            (
                b"ratelimit",
                first.left % (general.remaining, general.ends - now + 1)
                + b", "
                + second.left % (left, lease.ends - now + 1),
            ),
            self._texts[tightest.policy.name].limit,
            (b"x-ratelimit-remaining", b"%d" % least),
            (b"x-ratelimit-reset", b"%d" % tightest.reset),
        )
        if not granted:
            self._refuse(lease, now)

    def _refuse(self, lease: Lease, now: float) -> NoReturn:
        self._measures.refused += 1
        seconds = int(lease.ends - now) + 1
        if lease.beyond:  # only this worker's share is used up, for as long as Valkey is away
            seconds = min(seconds, AWAY_SECONDS)
        raise TooManyRequests(
            f"{lease.policy.limit} requests may be made in {lease.policy.window} seconds."
            f" Try again in {seconds}.",
            retry_after=seconds,
        )


def _subject(scope: Scope, caller: Caller) -> int | str:
    """Whom a request counts against: the user, or a guest's address."""
    return counted_as(scope["client_address"]) if caller.id is None else caller.id


class _Texts:
    """The parts of a policy's headers that are always the same."""

    def __init__(self, policy: Policy) -> None:
        name = policy.name.encode()
        self.policy = (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (name, policy.limit, policy.window))
        self.limit = (b"x-ratelimit-limit", b"%d" % policy.limit)
        # What is left, and the seconds until there is all of it again.
        self.left = b'"%b";r=%%d;t=%%d' % name
