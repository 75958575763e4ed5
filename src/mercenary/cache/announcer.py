"""Telling every host what has changed, by way of Valkey: the relay's side of the clocks.

The relay calls `announce` once a round. One script moves Valkey's own clocks, by which answers kept
there are judged, publishes the changes for the clocks of each host, and says the relay's *word*:
all that was committed before a moment has been announced. Hosts and readers of Valkey trust what is
kept no longer than the word reaches, so whatever breaks between here and there (Valkey, the
relay, a subscription) makes answers be forgotten early, and none be kept too long.
"""

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from mercenary.cache.clocks import EVERYTHING, Clocks, slot_of
from mercenary.cache.valkey import Argument, Script, Valkey, ValkeyAway

CHANNEL: Final = "cache:changes"
CLOCKS: Final = "cache:clocks"
"""A hash: `run` and `epoch`, and for each slot that was ever moved a value; `lsn` is the place in
PostgreSQL's log before which all that was announced was committed."""
WORD: Final = "cache:word"
"""A key that is there while the relay's last word holds."""
WORD_SECONDS: Final = 0.7
"""How long a word holds, counted from the moment that it speaks of."""

Told = tuple[int, Sequence[str]]
"""A change: its stamp, and the tags that it moves."""

# Answers kept in Valkey name the epoch that they were kept in. A new one begins when the clocks are
# lost (FLUSHALL), or may be older than the answers: after a restart from a file, or a failover.
# Ages are by Valkey's own clock, so that neither a paused Valkey nor a slow way to it makes a word
# look newer than it is; a clock that was put back gives none. A script may call INFO, whose run_id
# is the server process's own.
_ANNOUNCE = Script(
    """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local value, since, holds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local before = redis.call('HGET', KEYS[1], 'run')
if before ~= run then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'run', run, 'epoch', value)
end
for i = 7, #ARGV do redis.call('HSET', KEYS[1], ARGV[i], value) end
if before ~= run or #ARGV > 6 then
  if ARGV[6] == '' then redis.call('HDEL', KEYS[1], 'lsn')
  else redis.call('HSET', KEYS[1], 'lsn', ARGV[6]) end
end
local age = -1
if since > 0 and since <= now then
  age = now - since
  local left = math.floor((holds - age) / 1000)
  if left > 0 then redis.call('SET', KEYS[2], '1', 'PX', left) end
end
redis.call('PUBLISH', ARGV[4], string.format('%.0f ', age) .. ARGV[5])
return {string.format('%.0f', now), before and before ~= run and 1 or 0}
"""
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[list[tuple[int, list[str]]], list[float]])


class Announcement(msgspec.Struct, frozen=True):
    """What a host hears: changes, and how old the word is (seconds); None without one.

    `begun` is when each change began, in seconds since 1970, as far as that was told.
    """

    told: list[tuple[int, list[str]]]
    begun: list[float]
    age: float | None


def read(message: bytes) -> Announcement:
    """A message of the channel.

    Raises:
        ValueError: it isn't one of ours.
    """
    age, _, payload = message.partition(b" ")
    micros = int(age)
    told, begun = _decoder.decode(payload)
    return Announcement(told, begun, None if micros < 0 else micros / 1e6)


class Announcer:
    """Tells one Valkey, and the hosts that listen there."""

    def __init__(self, valkey: Valkey, clocks: Clocks) -> None:
        self._valkey = valkey
        self._clocks = clocks
        # Until the new epoch began, hosts may have taken from there what they knew to have changed.
        self._replaced = False
        # What Valkey's clock showed (µs) at a moment of ours, or later: its last reply.
        self._shown: tuple[int, float] | None = None

    async def announce(
        self,
        told: Sequence[Told],
        *,
        since: float | None,
        begun: Sequence[float] = (),
        lsn: int | None = None,
    ) -> None:
        """Announce changes; at least every 0.1 s, also without any, or the word is lost.

        `since` is `time.monotonic()` before the statement that found them, where it found all
        there were; None where some were left, and there's no word to give. `begun` is when each
        change began, in seconds since 1970, by which hosts measure how late they hear. `lsn` is
        a place in PostgreSQL's log before which all that was ever announced was committed; without
        one, answers that are put into Valkey are read from the primary.

        Raises:
            ValkeyAway: nobody may have heard; the same is to be announced again.
        """
        if self._replaced:
            told = [*told, (self._clocks.fresh(), (EVERYTHING,))]
        moment = 0
        if since is not None and self._shown is not None:
            showed, seen = self._shown
            moment = showed + int((since - seen) * 1e6)
        arguments: list[Argument] = [
            self._clocks.fresh(),
            moment,
            int(WORD_SECONDS * 1e6),
            CHANNEL,
            _encoder.encode((told, begun)),
            "" if lsn is None else str(lsn),
            *{slot_of(tag) for _, tags in told for tag in tags},
        ]
        try:
            now, replaced = await self._valkey.run(_ANNOUNCE, [CLOCKS, WORD], arguments)
        except ValkeyAway:
            self._shown = None
            raise
        self._shown = int(now), time.monotonic()
        self._replaced = bool(replaced)
