"""The arithmetic of a quota that is lent out in shares.

Valkey keeps one number a caller and window: how much has been granted. A worker that needs some for
requests it has in hand gets exactly that, while there is any, and a share ahead for those to come.
Shares ahead begin small, so that a caller with one request binds little, double as the caller comes
back for more (as TCP's slow start), and shrink as the limit nears: `free // (2 * workers)`, which
is guided self-scheduling (Polychronopoulos and Kuck, 1987) with a factor of two. So the last
requests are granted one by one, and what one worker holds while another has to refuse is at most
a `LARGEST_SHARE`th of the limit.

The number in Valkey only grows within a window. A reply that is lost, a worker that is killed and a
lease that is forgotten take their share along until the window ends; nothing is ever granted twice.
"""

from mercenary.limits.policy import Policy

FIRST_SHARE = 16
"""Requests ahead at first. With 4, of 10,000 callers who come a few times each, every fourth
request asked Valkey: 5,905 cached pages a second instead of 7,520 (`mercenary bench api`)."""
LARGEST_SHARE = 50
"""A share ahead is at most the limit divided by this; a lower limit is asked for one by one."""

# Per key: limit, window, demand, ahead, and what the worker knows: the window by its index, the
# birth of the counter, all that it took in the window, and what of that the counter doesn't know.
# A counter goes by the microsecond of its birth. One that was lost (FLUSHALL, a restart, memory
# pushed out) is born anew, and each worker then tells it all that it took, as it comes by.
GRANT = """
local now = redis.call('TIME')
local seconds, micros = tonumber(now[1]), now[1] * 1000000 + now[2]
local holders = tonumber(ARGV[1])
local answer = {now[1], now[2]}
for i, key in ipairs(KEYS) do
  local given = {}
  for j = 1, 8 do given[j] = tonumber(ARGV[1 + (i - 1) * 8 + j]) end
  local limit, window, demand, ahead, index, since, taken, untold = unpack(given)
  local held = redis.call('HMGET', key, 'since', 'used')
  local born, used = tonumber(held[1] or 0), tonumber(held[2] or 0)
  local current = math.floor(seconds / window)
  if math.floor(born / 1000000 / window) ~= current then born, used = micros, 0 end
  local before = used
  if index == current then used = used + (since == born and untold or taken) end
  local free = math.max(0, limit - used)
  local granted = math.min(free, demand)
  granted = granted + math.min(ahead, math.floor((free - granted) / holders))
  used = used + granted
  if used > before then
    redis.call('HSET', key, 'since', string.format('%.0f', born), 'used', used)
    redis.call('EXPIREAT', key, (current + 1) * window)
  end
  answer[#answer + 1] = granted
  answer[#answer + 1] = free - granted
  answer[#answer + 1] = born
end
return answer
"""


class Lease:
    """What one worker may still grant one caller, and what it has to tell Valkey."""

    __slots__ = (
        "ahead",
        "beyond",
        "ends",
        "index",
        "left",
        "policy",
        "reset",
        "since",
        "subject",
        "taken",
        "untold",
        "waiting",
    )

    def __init__(self, policy: Policy, subject: int | str) -> None:
        self.policy = policy
        self.subject = subject
        # Requests that wait for Valkey's answer.
        self.waiting = 0
        # Was free in Valkey at last; once nothing is left either, all is refused until `ends`, on
        # this machine's monotonic clock.
        self.beyond = 0
        self.ends = 0.0
        self._begin(-1)

    def _begin(self, index: int) -> None:
        self.index = index
        # The window's end by Valkey's clock, in seconds since 1970.
        self.reset = (index + 1) * self.policy.window
        # May be spent without asking.
        self.left = 0
        # The birth of the counter that knows all that was taken but what is untold.
        self.since = self.taken = self.untold = 0
        self.ahead = min(FIRST_SHARE, self._largest)

    @property
    def _largest(self) -> int:
        return self.policy.limit // LARGEST_SHARE

    @property
    def key(self) -> str:
        """The name of the counter in Valkey."""
        return f"limit:{self.policy.name}:{self.subject}"

    @property
    def remaining(self) -> int:
        """What is left to the caller, as far as this worker knows."""
        return self.left + self.beyond

    def spend(self, now: float) -> bool | None:
        """Grant a request: True; refuse it: False; or find that Valkey must be asked: None."""
        if now >= self.ends:
            return None
        if self.left:
            self.left -= 1
            return True
        return None if self.beyond else False

    def spend_alone(self, now: float, epoch: float, share: int) -> bool:
        """Grant or refuse a request while Valkey is away: `share` in a window in all.

        What was leased before counts. One by one, so that nothing is held back when it returns.
        `epoch` is what Valkey's clock would show.
        """
        window = self.policy.window
        if now >= self.ends:
            self._begin(int(epoch // window))
            self.ends = now + (self.index + 1) * window - epoch
            self.beyond = self.policy.limit
        granted = self.taken < share
        if granted:
            self.taken += 1
            self.untold += 1
        # Never 0, which would hold until the window's end, whoever comes back before.
        self.beyond = max(1, min(self.beyond, share - self.taken))
        return granted

    def ask(self) -> tuple[int, ...]:
        """The script's arguments for this lease."""
        return (
            self.policy.limit,
            self.policy.window,
            self.waiting,
            self.ahead,
            self.index,
            self.since,
            self.taken,
            self.untold,
        )

    def take(
        self, sent: float, epoch: float, told: int, granted: int, free: int, since: int
    ) -> None:
        """Take in what the script answered.

        It was asked at `sent` on the monotonic clock, its own clock showed `epoch` later than that;
        so the lease ends here before the window ends there. `told` is what had been untold.
        """
        index = int(epoch // self.policy.window)
        if index != self.index:
            self._begin(index)
        else:
            self.untold -= told
            self.ahead = min(2 * self.ahead, self._largest)
        self.ends = sent + (index + 1) * self.policy.window - epoch
        self.left += granted
        self.taken += granted
        self.beyond = free
        self.since = since
