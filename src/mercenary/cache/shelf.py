"""The second tier: entries in Valkey, which all workers and hosts share.

What is asked for in one turn of the loop is one MGET, and the clocks of its tags one HMGET in the
same trip. An entry carries what Valkey's clocks showed before it was filled, and counts only while
they show the same and the relay's word holds; so nothing here depends on who deletes what in time.
Where the entries have a Valkey of their own (sessions), the clocks are still those of the one that
the relay announces to: no second one has to be told, and none can have missed anything.
"""

from asyncio import gather
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from mercenary import __version__
from mercenary.batching import Batch, Lanes
from mercenary.cache.announcer import CLOCKS, WORD
from mercenary.cache.entries import Want
from mercenary.cache.valkey import Valkey, ValkeyAway
from mercenary.errors import DeadlineExceeded, Overloaded, Unavailable
from mercenary.freshness import BEYOND

Shown = tuple[bytes | None, ...]
"""What Valkey's clocks showed: the epoch, then those of the tags; None where one never moved."""

LEASE_SECONDS: Final = 1.0
"""After so long another process may fill what one has begun to."""
LARGEST: Final = 1024 * 1024
"""Bytes of an entry that is worth its way to Valkey and back."""
_LANES: Final = 2
_TRIPS: Final = 5
_WAITING: Final = 4096
_EPOCH: Final = "epoch"
_LSN: Final = "lsn"


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """An entry as it is stored. `born` is seconds since 1970, `cost` seconds."""

    key: bytes
    shown: Shown
    born: float
    cost: float
    value: bytes


class Found(msgspec.Struct, frozen=True):
    """What a look found: the entry and its value if it counts, and what the clocks showed.

    `shown` is None where nothing read now may be put there. `leased`: a process is filling it.
    `lsn` is the place in PostgreSQL's log that whatever is put there must know of.
    """

    envelope: Envelope | None
    shown: Shown | None
    leased: bool
    value: Any = None
    lsn: int = BEYOND


class Inspection(msgspec.Struct, frozen=True):
    """All that Valkey has about an entry, whether it counts or not. Times are seconds.

    `left` is of the entry's lifetime, `word` of the relay's word; None where they aren't there.
    """

    envelope: Envelope | None
    size: int
    left: float | None
    leased: bool
    word: float | None
    shown: Shown | None


@dataclass(slots=True)
class ShelfMeasures:
    """What one process has asked of this tier."""

    looks: int = 0
    unanswered: int = 0
    """Looks that Valkey didn't answer in time, or that it was spared."""
    puts: int = 0
    lost: int = 0
    """Puts that Valkey didn't take."""
    foreign: int = 0
    """Entries under another's digest, or that couldn't be read."""


class _Put(msgspec.Struct, frozen=True):
    digest: str
    envelope: bytes
    milliseconds: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


class Shelf:
    """One section's entries in its Valkey; `clocks` is the one with the clocks, if another."""

    def __init__(self, valkey: Valkey, clocks: Valkey | None = None) -> None:
        self.measures = ShelfMeasures()
        self.valkey = valkey
        self._clocks = clocks or valkey
        self._lanes = Lanes(_LANES)
        self._looks: Batch[Want[Any], Found] = self._batch(self._look, "cache looks")
        self._puts: Batch[_Put, None] = self._batch(self._put, "cache puts")
        self._leases: Batch[str, bool] = self._batch(self._lease, "cache leases")

    @property
    def away(self) -> bool:
        """Whether Valkey is known to be away."""
        return self.valkey.away or self._clocks.away

    async def look(self, want: Want[Any]) -> Found | None:
        """Look for an entry; None where Valkey doesn't answer in time."""
        self.measures.looks += 1
        try:
            return await self._looks.ask(want)
        except (ValkeyAway, DeadlineExceeded, Overloaded, Unavailable):
            self.measures.unanswered += 1
            return None

    async def lease(self, want: Want[Any]) -> bool:
        """Whether this process shall fill the entry; others wait for it meanwhile."""
        try:
            return await self._leases.ask(want.digest)
        except (ValkeyAway, DeadlineExceeded, Overloaded, Unavailable):
            return True

    async def put(
        self, want: Want[Any], envelope: Envelope, *, seconds: float, leased: bool
    ) -> None:
        """Store an entry for so long, and give the lease back."""
        encoded = _encoder.encode(envelope)
        self.measures.puts += 1
        put = _Put(want.digest, encoded if len(encoded) <= LARGEST else b"", int(seconds * 1000))
        try:
            await self._puts.ask(put)
            if leased:
                await self.valkey.ask(lambda redis: redis.delete(_lease_key(want.digest)))
        except (ValkeyAway, DeadlineExceeded, Overloaded, Unavailable):
            self.measures.lost += 1

    async def release(self, want: Want[Any]) -> None:
        """Give a lease back without an entry."""
        try:
            await self.valkey.ask(lambda redis: redis.delete(_lease_key(want.digest)))
        except ValkeyAway:
            self.measures.lost += 1

    async def inspect(self, want: Want[Any]) -> Inspection:
        """What is stored for somebody who wants to know why.

        Raises:
            ValkeyAway: there is no answer.
        """
        digest = want.digest

        async def ask(redis: Redis) -> Any:
            async with redis.pipeline(transaction=False) as pipeline:
                pipeline.get(entry_key(digest))
                for key in (entry_key(digest), _lease_key(digest), WORD):
                    pipeline.pttl(key)
                pipeline.hmget(CLOCKS, [_EPOCH, *map(str, want.slots)])
                return await pipeline.execute()

        stored, left, lease, word, shown = await self.valkey.ask(ask)
        try:
            envelope = None if stored is None else _decoder.decode(stored)
        except msgspec.MsgspecError:
            envelope = None
        return Inspection(
            envelope,
            size=len(stored or b""),
            left=left / 1000 if left >= 0 else None,
            leased=lease >= 0,
            word=word / 1000 if word >= 0 else None,
            shown=None if shown[0] is None else tuple(shown),
        )

    async def close(self) -> None:
        """Let what is under way finish."""
        for batch in (self._looks, self._puts, self._leases):
            batch.close()
            await batch.drain()

    def _batch(self, run: Any, name: str) -> Batch[Any, Any]:
        return Batch(
            run,
            name=name,
            lanes=self._lanes,
            max_waiting=_WAITING,
            # Each trip has a deadline of its own; after the first that misses it none is made.
            deadline=_TRIPS * self.valkey.seconds,
            splits=lambda _: False,
        )

    async def _look(self, wants: Sequence[Want[Any]]) -> Sequence[Found]:
        digests = [want.digest for want in wants]
        slots = list(dict.fromkeys(slot for want in wants for slot in want.slots))

        def ask_entries(pipeline: Pipeline) -> None:
            pipeline.mget([*map(entry_key, digests), *map(_lease_key, digests)])

        def ask_clocks(pipeline: Pipeline) -> None:
            pipeline.get(WORD)
            pipeline.hmget(CLOCKS, [_LSN, _EPOCH, *map(str, slots)])

        if self._clocks is self.valkey:
            stored, word, (lsn, *shown) = await _trip(self.valkey, ask_entries, ask_clocks)
        else:
            (stored,), (word, (lsn, *shown)) = await gather(
                _trip(self.valkey, ask_entries), _trip(self._clocks, ask_clocks)
            )
        epoch = shown[0]
        place = BEYOND if lsn is None else int(lsn)
        clocks = dict(zip(slots, shown[1:], strict=True))
        found = []
        for want, entry, lease in zip(wants, stored, stored[len(wants) :], strict=False):
            now = None if epoch is None else (epoch, *(clocks[slot] for slot in want.slots))
            if word is not None and now is not None and entry:
                found.append(self._opened(entry, want, now, place, leased=lease is not None))
            else:
                found.append(Found(None, now, lease is not None, lsn=place))
        return found

    def _opened(
        self, entry: bytes, want: Want[Any], shown: Shown, lsn: int, *, leased: bool
    ) -> Found:
        """The entry, if it is this key's and its clocks haven't moved."""
        nothing = Found(None, shown, leased, lsn=lsn)
        try:
            envelope = _decoder.decode(entry)
            if envelope.key == want.key and envelope.shown != shown:
                return nothing
            value = want.codec.decode(envelope.value)
        except (ValueError, LookupError, TypeError):
            self.measures.foreign += 1
            return nothing
        if envelope.key != want.key:
            self.measures.foreign += 1
            return nothing
        return Found(envelope, shown, leased, value)

    async def _put(self, puts: Sequence[_Put]) -> Sequence[None]:
        async def ask(redis: Redis) -> None:
            async with redis.pipeline(transaction=False) as pipeline:
                for put in puts:
                    if put.envelope and put.milliseconds > 0:
                        pipeline.set(entry_key(put.digest), put.envelope, px=put.milliseconds)
                await pipeline.execute()

        await self.valkey.ask(ask)
        return [None] * len(puts)

    async def _lease(self, digests: Sequence[str]) -> Sequence[bool]:
        milliseconds = int(LEASE_SECONDS * 1000)

        async def ask(redis: Redis) -> Any:
            async with redis.pipeline(transaction=False) as pipeline:
                for digest in digests:
                    pipeline.set(_lease_key(digest), b"1", px=milliseconds, nx=True)
                return await pipeline.execute()

        return [bool(taken) for taken in await self.valkey.ask(ask)]


async def _trip(valkey: Valkey, *asks: Callable[[Pipeline], None]) -> Any:
    async def ask(redis: Redis) -> Any:
        async with redis.pipeline(transaction=False) as pipeline:
            for each in asks:
                each(pipeline)
            return await pipeline.execute()

    return await valkey.ask(ask)


def entry_key(digest: str) -> str:
    """The name of an entry in Valkey."""
    # Another version of ours may answer otherwise, or write it otherwise.
    return f"cache:e:{__version__}:{digest}"


def _lease_key(digest: str) -> str:
    return f"cache:l:{digest}"
