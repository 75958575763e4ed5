"""Guessing passwords is slow, and nobody can shut anybody else out by it.

Two things are counted, wrong passwords only, in Valkey:

- of an account from one address: past the limit the pair is refused, before anything is looked at.
  The account's owner signs in from elsewhere as if nothing had happened.
- of an address over all accounts: past the limit only those get in whose account has been signed in
  to from there within the last 30 days. The password is looked at first, and whoever doesn't get in
  is answered alike: the answer tells neither of accounts nor of passwords.

An attempt counts when it begins and is taken back when the password was right, so that no number
of attempts at once gets past a limit. While Valkey is away each worker counts by itself, to its
share of the limits (at least 1), for a bounded number of pairs and addresses.
"""

import contextlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from mercenary.cache import valkey
from mercenary.cache.valkey import Script, ValkeyAway
from mercenary.edge.client_address import counted_as
from mercenary.errors import TooManyRequests
from mercenary.keys import derive
from mercenary.settings import Settings

KNOWN_SECONDS = 30 * 86_400
# Pairs and addresses, and pairs that are known, in the memory of a worker.
KEPT_ALONE = 10_000

# Gives whether the pair may try, whether its address is over the limit, the seconds until the one
# or the other isn't any more, and whether the pair has signed in before.
_BEGIN = Script("""
local pair, address, known = KEYS[1], KEYS[2], KEYS[3]
local function seconds(key) return math.ceil(redis.call('PTTL', key) / 1000) end
local pairs_limit, addresses_limit, window = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
if tonumber(redis.call('GET', pair) or 0) >= pairs_limit then
  return {0, 0, seconds(pair), 0}
end
for _, key in ipairs({pair, address}) do
  if redis.call('INCR', key) == 1 then redis.call('EXPIRE', key, window) end
end
local over = tonumber(redis.call('GET', address)) > addresses_limit
return {1, over and 1 or 0, seconds(address), redis.call('EXISTS', known)}
""")
# After a right password the pair starts anew; an attempt that came to nothing leaves no trace.
_TAKE_BACK = Script("""
local pair, address, known = KEYS[1], KEYS[2], KEYS[3]
if tonumber(redis.call('GET', address) or 0) > 0 then redis.call('DECR', address) end
if ARGV[1] == '1' then
  redis.call('DEL', pair)
  redis.call('SET', known, '', 'EX', ARGV[2])
elseif tonumber(redis.call('GET', pair) or 0) > 0 then
  redis.call('DECR', pair)
end
""")


@dataclass(slots=True)
class ThrottleMeasures:
    """What one process has counted of its sign-ins since it started."""

    refused: int = 0
    """Attempts past a limit."""
    alone: int = 0
    """Attempts that were counted in this process only, because Valkey was away."""


class Throttle:
    """Counts the attempts to sign in that come to one process."""

    def __init__(self, settings: Settings) -> None:
        self.measures = ThrottleMeasures()
        self._key = derive(settings.secret_key, "sign-in throttle")
        self._window = settings.login_window
        self._limits = (settings.login_failures, settings.login_failures_by_address)
        workers = settings.limit_workers or settings.workers
        self._shares = [max(1, limit // workers) for limit in self._limits]
        self._counts = _Counts(self._window)
        # Pairs that signed in on this worker, for when Valkey is away or has lost its memory.
        self._known: OrderedDict[str, None] = OrderedDict()

    @property
    def remembered(self) -> int:
        """Pairs and addresses in this worker's own memory."""
        return len(self._counts) + len(self._known)

    async def begin(self, email: str, address: str) -> "Attempt":
        """Count an attempt, which must be settled or withdrawn; `email` is in lower case.

        Raises:
            TooManyRequests: too many passwords were wrong for this account from this address.
        """
        keys = self._keys(email, counted_as(address))
        alone = False
        try:
            allowed, over, seconds, known = await valkey.current().run(
                _BEGIN, keys, (*self._limits, self._window)
            )
        except ValkeyAway:
            alone, known = True, False
            self.measures.alone += 1
            allowed, over, seconds = self._begin_alone(*keys[:2])
        if not allowed:
            raise self.refusal(seconds)
        known = known or keys[2] in self._known
        return Attempt(self, keys, alone=alone, known=known, over_for=seconds if over else 0)

    async def take_back(self, keys: tuple[str, str, str], *, right: bool, alone: bool) -> None:
        """Uncount an attempt, because its password was right, or because it came to nothing."""
        pair, address, known = keys
        if right:
            self._known[known] = None
            self._known.move_to_end(known)
            if len(self._known) > KEPT_ALONE:
                self._known.popitem(last=False)
        if alone:
            self._counts.add(address, -1)
            self._counts.add(pair, -self._counts.of(pair) if right else -1)
            return
        with contextlib.suppress(ValkeyAway):  # it counts until the window ends
            await valkey.current().run(_TAKE_BACK, keys, (int(right), KNOWN_SECONDS))

    def refusal(self, seconds: int) -> TooManyRequests:
        """The answer past a limit, the same for whatever account and password."""
        self.measures.refused += 1
        seconds = max(1, seconds)
        return TooManyRequests(
            f"Signing in has failed too often. Try again in {seconds} seconds.",
            retry_after=seconds,
        )

    def _begin_alone(self, pair: str, address: str) -> tuple[bool, bool, int]:
        of_pair, of_address = self._shares
        if self._counts.of(pair) >= of_pair:
            return False, False, self._counts.seconds(pair)
        self._counts.add(pair, 1)
        self._counts.add(address, 1)
        over = self._counts.of(address) > of_address
        return True, over, self._counts.seconds(address)

    def _keys(self, email: str, network: str) -> tuple[str, str, str]:
        # Neither people nor where they are can be read in Valkey.
        def name(*parts: str) -> str:
            return blake2b("\n".join(parts).encode(), key=self._key, digest_size=16).hexdigest()

        pair = name(email, network)
        return f"login:pair:{pair}", f"login:address:{name(network)}", f"login:known:{pair}"


class Attempt:
    """One attempt, counted.

    Its address is over the limit for `over_for` seconds; `known` accounts get in there nonetheless.
    """

    def __init__(
        self,
        throttle: Throttle,
        keys: tuple[str, str, str],
        *,
        alone: bool,
        known: bool,
        over_for: int,
    ) -> None:
        self._throttle = throttle
        self._keys = keys
        self._alone = alone
        self._known = known
        self._over_for = over_for

    async def settle(self, *, right: bool) -> None:
        """Say whether the password was right.

        Raises:
            TooManyRequests: the address is over the limit. It may have been right.
        """
        if self._over_for and not (right and self._known):
            raise self._throttle.refusal(self._over_for)
        if right:
            await self._throttle.take_back(self._keys, right=True, alone=self._alone)

    async def withdraw(self) -> None:
        """Uncount it: the password couldn't be looked at."""
        await self._throttle.take_back(self._keys, right=False, alone=self._alone)


class _Counts:
    """Counts of one window each, from the first on, for a bounded number of keys."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def of(self, key: str) -> int:
        count, until = self._counts.get(key, (0, 0.0))
        return count if until > time.monotonic() else 0

    def seconds(self, key: str) -> int:
        """Until the count starts anew."""
        return int(self._counts[key][1] - time.monotonic()) + 1

    def add(self, key: str, more: int) -> None:
        count = self.of(key)
        until = self._counts[key][1] if count else time.monotonic() + self._window
        self._counts[key] = (max(0, count + more), until)
        if len(self._counts) > KEPT_ALONE:
            self._counts.popitem(last=False)
