"""Two tiers in front of whatever is costly to find: this worker's memory, then Valkey.

Ask a `Tiers` by `get`; it calls `fill` when nobody keeps the answer. Of those who ask for one key
at a time one fills and the others wait for it (`_Flight`); between processes a short lease in
Valkey does the same for lists. What is due is renewed by one task while everybody is given what
there is. What counts at all is `entries`' to say.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Generic, TypeVar

import structlog

from mercenary import freshness, sojourn
from mercenary.batching import copy_of
from mercenary.cache.clocks import Clocks
from mercenary.cache.entries import HEARD_SECONDS, Coverage, Entry, Standing, Want
from mercenary.cache.memory import Memory
from mercenary.cache.shelf import Envelope, Found, Shelf, Shown

V = TypeVar("V")

log = structlog.get_logger()

ENTRY_BYTES: Final = 260
"""What an entry takes besides its node, its key and its value: itself, its coverage, times.

By `tracemalloc` over 10,000 sessions."""
LEASE_LOOKS: Final = 12
LEASE_PAUSE_SECONDS: Final = 0.02
"""So often, and with such pauses, a process looks for what another is filling, before it does."""
RENEW_AGAIN_SECONDS: Final = 1.0


class Source(Enum):
    """Where an answer came from."""

    MEMORY = "hit-memory"
    VALKEY = "hit-redis"
    FILLED = "miss"
    FORCED = "bypass"


@dataclass(slots=True)
class TierMeasures:
    """What one process has seen of a cache since it started."""

    hits_memory: int = 0
    hits_valkey: int = 0
    absent: int = 0
    """Misses of what isn't in memory."""
    moved: int = 0
    """Misses because something changed."""
    expired: int = 0
    """Misses because the lifetime was over."""
    unheard: int = 0
    """Misses because the relay's word was too old."""
    forced: int = 0
    """Fills that a caller demanded (`Cache-Control: no-cache`)."""
    apart: int = 0
    """Passed by, for a caller whose answer is another: admins, and whom the endpoint tells."""
    joined: int = 0
    """Misses that waited for another's fill instead of one of their own."""
    fills: int = 0
    failed: int = 0
    """Fills that ended in an error."""
    renewals: int = 0
    """Fills of what was still given out meanwhile."""
    awaited: int = 0
    """Fills spared because another process made one meanwhile."""


class _Flight(Generic[V]):
    """One fill under way, and what it will know of. Its task gives an error, and never raises."""

    __slots__ = ("coverage", "source", "stay", "task")

    task: "asyncio.Task[V | Exception]"

    def __init__(self, coverage: Coverage, deadline: float) -> None:
        self.coverage = coverage
        self.stay = sojourn.Sojourn(deadline)
        self.source = Source.FILLED


_filling: ContextVar[_Flight[Any] | None] = ContextVar("filling", default=None)
"""The fill that the running code is part of. What it takes from here, it leans on."""
_anew: ContextVar[bool] = ContextVar("anew", default=False)


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Whatever is asked of a cache within the block is filled anew."""
    before = _anew.set(True)
    try:
        yield
    finally:
        _anew.reset(before)


@dataclass
class Tiers:
    """One section's cache: `memory` may be shared with others, `seconds` is the lifetime.

    `deadline` is the seconds that a fill may take.
    """

    clocks: Clocks
    memory: Memory[Any]
    shelf: Shelf
    seconds: float
    deadline: float
    measures: TierMeasures = field(default_factory=TierMeasures)
    _flights: dict[bytes, _Flight[Any]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def peek(self, key: bytes, now: float) -> Entry[Any] | None:
        """What memory keeps and nothing need be done for; counted as a hit by whoever uses it."""
        entry: Entry[Any] | None = self.memory.get(key)
        if entry is None:
            return None
        standing = entry.stands(self.clocks, now)
        if standing is Standing.CURRENT or (standing is Standing.DUE and entry.renewing):
            return entry
        return None

    def under_way(self, key: bytes, now: float) -> "asyncio.Task[Any] | None":
        """The fill that is under way and new enough for who asks now. Its task never raises."""
        flight = self._flights.get(key)
        if flight is None or flight.coverage.stands(self.clocks, now) > Standing.DUE:
            return None
        return flight.task

    async def get(self, want: Want[V], fill: Callable[[], Awaitable[V]]) -> tuple[V, Source]:
        """The value, and where it was found.

        Raises:
            Exception: whatever `fill` raised.
        """
        outer = _filling.get()
        if _anew.get():
            return await self.force(want, fill), Source.FORCED
        now = time.monotonic()
        entry: Entry[V] | None = self.memory.get(want.key)
        standing = None if entry is None else entry.stands(self.clocks, now)
        if entry is not None and standing is not None and standing <= Standing.DUE:
            self.measures.hits_memory += 1
            if standing is Standing.DUE and not entry.renewing:
                self._renew(want, entry, fill, now)
            if outer is not None:
                outer.coverage.lean_on(entry.coverage)
            return entry.value, Source.MEMORY
        flight = self._flights.get(want.key)
        if flight is None or flight.coverage.stands(self.clocks, now) > Standing.DUE:
            self._count(standing)
            flight = self._depart(want, fill, now)
        else:
            self.measures.joined += 1
        if outer is not None:
            # Not only on arrival: whoever joins the outer fill meanwhile joins this one, too.
            outer.coverage.lean_on(flight.coverage)
        return await self._arrival(flight), flight.source

    async def force(self, want: Want[V], fill: Callable[[], Awaitable[V]]) -> V:
        """Fill anew, whatever is kept, and keep that here. Nobody joins, and Valkey isn't asked.

        Raises:
            Exception: whatever `fill` raised.
        """
        self.measures.forced += 1
        begun = time.monotonic()
        outer = _filling.get()
        flight: _Flight[V] = _Flight(Coverage(want, self.clocks, begun), 0.0)
        inner = _filling.set(flight)
        freshness.require(moment=self.clocks.moved(want.slots))
        try:
            with nothing_kept():
                value = await fill()
        finally:
            _filling.reset(inner)
        self._keep(want, value, flight.coverage, time.monotonic() - begun, None, leased=False)
        if outer is not None:
            outer.coverage.lean_on(flight.coverage)
        return value

    async def drain(self) -> None:
        """Let what is under way finish, putting things into Valkey included."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.shelf.close()

    async def _arrival(self, flight: _Flight[V]) -> V:
        outcome = await asyncio.shield(flight.task)
        stay = sojourn.current()
        if stay is not None:
            stay.queued += flight.stay.queued
        if isinstance(outcome, Exception):
            raise copy_of(outcome)
        if (outer := _filling.get()) is not None:
            outer.coverage.lean_on(flight.coverage)
        return outcome

    def _count(self, standing: Standing | None) -> None:
        measures = self.measures
        if standing is None:
            measures.absent += 1
        elif standing is Standing.MOVED:
            measures.moved += 1
        elif standing is Standing.EXPIRED:
            measures.expired += 1
        else:
            measures.unheard += 1

    def _renew(
        self, want: Want[V], entry: Entry[V], fill: Callable[[], Awaitable[V]], now: float
    ) -> None:
        """Fill anew what is given out meanwhile."""
        entry.renewing = True
        self.measures.renewals += 1

        def renewed(task: "asyncio.Task[V | Exception]") -> None:
            if not task.cancelled() and isinstance(problem := task.result(), Exception):
                log.warning("could not renew what is kept", tags=want.tags, cause=repr(problem))
                entry.postpone(time.monotonic() + RENEW_AGAIN_SECONDS)

        self._depart(want, fill, now, look=False).task.add_done_callback(renewed)

    def _depart(
        self,
        want: Want[V],
        fill: Callable[[], Awaitable[V]],
        now: float,
        *,
        look: bool = True,
    ) -> _Flight[V]:
        """Begin to fill. Others join, for as long as what it will know of is new enough for them.

        `look` is whether what Valkey has will do.
        """
        loop = asyncio.get_running_loop()
        coverage = Coverage(want, self.clocks, now)
        flight: _Flight[V] = _Flight(coverage, loop.time() + self.deadline)
        # A context of its own: whoever asked first may go away, and be somebody.
        flying = self._fly(want, fill, flight, look=look)
        flight.task = loop.create_task(flying, name="cache fill", context=Context())
        self._flights[want.key] = flight
        self._tasks.add(flight.task)

        def land(task: "asyncio.Task[V | Exception]") -> None:
            self._tasks.discard(task)
            if self._flights.get(want.key) is flight:
                del self._flights[want.key]

        flight.task.add_done_callback(land)
        return flight

    async def _fly(
        self,
        want: Want[V],
        fill: Callable[[], Awaitable[V]],
        flight: _Flight[V],
        *,
        look: bool,
    ) -> V | Exception:
        sojourn.enter(flight.stay)
        _filling.set(flight)
        shown: Shown | None = None
        leased = False
        lsn = 0
        if self._may_share(want) and (found := await self.shelf.look(want)) is not None:
            shown = found.shown
            lsn = 0 if shown is None else found.lsn
            if look and found.envelope is None and want.relaxed and shown is not None:
                leased = not found.leased and await self.shelf.lease(want)
                if not leased:
                    found = await self._wait_for_another(want) or found
            if look and found.envelope is not None:
                kept: V = found.value
                return self._adopt(want, flight, found.envelope, kept)
        begun = time.monotonic()
        # Read behind the clocks. Whatever moved them, a replica must know of: here, and, where the
        # answer is put into Valkey, there.
        freshness.allow(freshness.Demand(lsn, self.clocks.moved(want.slots)))
        try:
            value = await fill()
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            self.measures.failed += 1
            if leased:
                await self.shelf.release(want)
            return error
        self._keep(want, value, flight.coverage, time.monotonic() - begun, shown, leased=leased)
        return value

    def _may_share(self, want: Want[Any]) -> bool:
        """Whether Valkey knows of all that this host has changed there."""
        if self.shelf.away or time.monotonic() - self.clocks.heard > HEARD_SECONDS:
            return False
        return all(map(self.clocks.is_told, want.slots))

    async def _wait_for_another(self, want: Want[Any]) -> Found | None:
        """What another process has filled meanwhile; None where it hasn't, or gave up."""
        for _ in range(LEASE_LOOKS):
            await asyncio.sleep(LEASE_PAUSE_SECONDS)
            found = await self.shelf.look(want)
            if found is None or not (found.leased or found.envelope):
                return None
            if found.envelope is not None:
                self.measures.awaited += 1
                return found
        return None

    def _adopt(self, want: Want[V], flight: _Flight[V], envelope: Envelope, value: V) -> V:
        """Take what Valkey has into memory, for the rest of its lifetime."""
        flight.source = Source.VALKEY
        self.measures.hits_valkey += 1
        lifetime = want.seconds or self.seconds
        left = envelope.born + lifetime - time.time()
        coverage = flight.coverage.by_hearsay()
        seconds = max(0.0, min(left, lifetime))
        self._remember(want, value, len(envelope.value), coverage, seconds, envelope.cost)
        return value

    def _keep(
        self,
        want: Want[V],
        value: V,
        coverage: Coverage,
        cost: float,
        shown: Shown | None,
        *,
        leased: bool,
    ) -> None:
        """Keep what was filled in both tiers, as far as it still counts."""
        self.measures.fills += 1
        lifetime = want.seconds or self.seconds
        encoded = want.codec.encode(value)
        if coverage.may_be_kept:
            self._remember(want, value, len(encoded), coverage, lifetime, cost)
        if shown is None:
            return
        is_current = self.clocks.unmoved(coverage.slots, coverage.shown)
        if coverage.may_be_kept and coverage.knows_all and is_current:
            envelope = Envelope(want.key, shown, time.time(), cost, encoded)
            put = self.shelf.put(want, envelope, seconds=lifetime, leased=leased)
        elif leased:
            put = self.shelf.release(want)
        else:
            return
        task = asyncio.get_running_loop().create_task(put, name="cache put", context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _remember(
        self,
        want: Want[V],
        value: V,
        size: int,
        coverage: Coverage,
        seconds: float,
        cost: float,
    ) -> None:
        """Keep a value in memory, unless somebody who began to read later was here before."""
        before: Entry[V] | None = self.memory.get(want.key)
        if before is not None and before.coverage.begun > coverage.begun:
            return
        size += ENTRY_BYTES + len(want.key) + want.codec.overhead
        self.memory.put(
            Entry(want, value, size, coverage, seconds=seconds, cost=cost, now=time.monotonic())
        )
