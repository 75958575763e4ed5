"""`mercenary bench stampede`: what the database sees when all want the same at the same moment.

A thousand callers, each on a connection of their own, ask for one project at once: while it is
kept; when it has just been changed; when it has expired in both tiers; and again and again while it
expires under them. Lifetimes of two seconds make that happen for real. Then Valkey is flushed under
an open load with writes in it.

What the database was asked is PostgreSQL's own count, and times stand beside those of the same work
with all kept.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import cycle
from math import ceil
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import uvloop
from redis import Redis

from mercenary.bench import bursts, facts, moments
from mercenary.bench.bursts import Caller, compose
from mercenary.bench.contenders import Contender, Place, another, private_stack
from mercenary.bench.interrupt import ctrl_c_noted
from mercenary.bench.marketplace import BASE, description_bodies, explore
from mercenary.bench.moments import Flush, Moment
from mercenary.bench.open_load import Phase, Played
from mercenary.bench.playing import READING, play, reads_and_changes
from mercenary.bench.statements import ProjectReads
from mercenary.bench.traffic import UNCACHED
from mercenary.bench.verdicts import Judged
from mercenary.settings import SetupError

LIFETIME_SECONDS: Final = 2
POPULAR: Final = 5_000
"""Projects that are asked for while Valkey is flushed."""
# Entries end or are renewed somewhat early, each by chance, and are given out somewhat longer.
_EARLIEST: Final = 0.85
_LATEST: Final = 1.25
_CAPACITY_CALLERS: Final = 64
_MET_AT_ONCE: Final = 32
# Each process has a memory of its own, and connections are dealt among them by chance.
_TIMES_KEPT: Final = 3
_AFTERWARDS_SECONDS: Final = moments.RECOVERY_SECONDS + 5
_WARMING, _BEFORE, _FLUSHED = range(3)


@dataclass(frozen=True)
class Options:
    """`callers` in each of `rounds` bursts; `seconds` of each phase of load.

    `share` is the part of the capacity at which Valkey is flushed.
    """

    callers: int = 1_000
    rounds: int = 5
    seconds: int = 10
    share: float = 0.6
    scale: str = "100k"
    workers: int = 2


def measure(options: Options, say: Callable[[str], None]) -> Judged[Moment]:
    """Make every kind of moment, and judge; `say` gets a line for each step.

    Raises:
        SetupError: something is missing that the caller can mend, or a generator fails.
        StackError, ChildError: a server can't be started.
        Halted: somebody wants it to stop.
    """
    with ExitStack() as exits:
        exits.enter_context(ctrl_c_noted())
        say(f"Starting a private stack with {options.scale} projects …")
        place = exits.enter_context(private_stack(options.scale, options.workers))
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="mercenary-rush-")))
        default = {**_cache_config(place)["default"], "CACHE_DEFAULT_TIMEOUT": LIFETIME_SECONDS}
        config = msgspec.json.encode({**_cache_config(place), "default": default}).decode()
        short_lived = exits.enter_context(
            another(place, "short-lived", folder, options.workers, {"CACHE_CONFIG": config})
        )
        ids = explore(place.product.target, place.product.callers.everybody).projects
        ranked = Random(1).sample(ids, len(ids))  # noqa: S311 - a workload, no secret
        rush = Rush(options, place, short_lived, folder, ranked, say)
        found, flush, rate = uvloop.run(rush.measured())
    lifetimes = ceil(options.seconds / (LIFETIME_SECONDS * _EARLIEST)) + 1
    return Judged(
        machine=facts.machine(),
        commit=facts.commit(),
        command=facts.command(),
        rows=[*found, flush.before, flush.after],
        verdicts=moments.judge({one.name: one for one in found}, lifetimes, flush, options.workers),
        detail={
            **asdict(options),
            "lifetime": LIFETIME_SECONDS,
            "lifetimes": lifetimes,
            "rate": round(rate, 1),
            "projects": min(len(ids), POPULAR),
            "flush": msgspec.to_builtins(flush),
        },
    )


class Wanted:
    """One project, and callers who want it, each of whom is somebody else."""

    def __init__(self, contender: Contender, id: int, callers: Sequence[Caller]) -> None:
        self.callers = callers
        path, target = f"{BASE}/projects/{id}", contender.target
        tokens, admin = contender.callers.everybody, contender.callers.admins[0]
        self.asks = [
            compose("GET", path, target, tokens[number % len(tokens)])
            for number in range(len(callers))
        ]
        self._uncached = compose("GET", path, target, admin, lines=UNCACHED)
        self._change = compose("PATCH", path, target, admin, body=description_bodies(1)[0])

    async def meet(self) -> None:
        """Have each caller ask on their own connection, so that its process knows their session."""
        for number in range(0, len(self.callers), _MET_AT_ONCE):
            few = slice(number, number + _MET_AT_ONCE)
            await bursts.at_once(self.callers[few], self.asks[few])

    async def kept(self) -> None:
        """Have every process keep it."""
        await bursts.at_once(self.callers, self.asks)

    async def changed(self) -> None:
        """Change it after it was kept."""
        await self.kept()
        await self._answered(self._change)

    async def expired(self) -> None:
        """Leave it alone after it was kept, for longer than it lives."""
        await self.kept()
        await asyncio.sleep(LIFETIME_SECONDS * _LATEST)

    async def read(self) -> None:
        """Read it from the database, once."""
        await self._answered(self._uncached)

    async def _answered(self, request: bytes) -> None:
        seen = await self.callers[0].ask(request)
        if seen.status != 200:
            raise SetupError(f"an admin's request was answered by {seen.status}")


class Rush:
    """Everything that the moments need; `ranked` are projects, the most popular first."""

    def __init__(
        self,
        options: Options,
        place: Place,
        short_lived: Contender,
        folder: Path,
        ranked: Sequence[int],
        say: Callable[[str], None],
    ) -> None:
        if not place.product.callers.admins or place.database_uri is None:
            raise SetupError("there is no admin, who alone may change any project")
        self.options = options
        self.place = place
        self.short_lived = short_lived
        self.folder = folder
        self.ranked = ranked
        self.database_uri = place.database_uri
        self._say = say

    async def measured(self) -> tuple[list[Moment], Flush, float]:
        """The moments of one key, the flush, and the load under it, in requests a second."""
        count, product = self.options.callers, self.place.product
        async with (
            bursts.callers(self.short_lived.target, count) as callers,
            bursts.callers(product.target, count) as others,
        ):
            wanted = Wanted(self.short_lived, self.ranked[0], callers)
            # Another key, since what the one server keeps for long would do for the other.
            lasting = Wanted(product, self.ranked[1], others)
            await wanted.meet()
            await lasting.meet()
            async with ProjectReads.of(self.database_uri, wanted.read) as reads:
                found = [
                    await self._at_once("kept", wanted, wanted.kept, reads),
                    await self._at_once("changed", wanted, wanted.changed, reads),
                    await self._at_once("expired", wanted, wanted.expired, reads),
                    await self._again_and_again("kept", lasting, reads),
                    await self._again_and_again("expiring", wanted, reads),
                ]
                await self._keep_popular(others)
                flush, rate = await self._flush(reads)
        return found, flush, rate

    async def _at_once(
        self,
        name: str,
        wanted: Wanted,
        prepare: Callable[[], Awaitable[None]],
        reads: ProjectReads,
    ) -> Moment:
        self._say(f"{self.options.rounds} times {self.options.callers:,} at once: {name} …")
        rounds, asked = [], []
        for _ in range(self.options.rounds):
            await prepare()
            before = await reads.count()
            rounds.append(await bursts.at_once(wanted.callers, wanted.asks))
            asked.append((await reads.count()).since(before))
        return moments.moment_of(name, rounds, asked)

    async def _again_and_again(self, name: str, wanted: Wanted, reads: ProjectReads) -> Moment:
        self._say(f"{self.options.callers:,} again and again: {name} …")
        await wanted.kept()
        before = await reads.count()
        seen = await bursts.again_and_again(wanted.callers, wanted.asks, self.options.seconds)
        asked = (await reads.count()).since(before)
        return moments.moment_of(f"{name}{moments.LASTING}", [seen], [asked])

    async def _keep_popular(self, callers: Sequence[Caller]) -> None:
        """Have every process keep what the load asks for, so that what is missed was flushed."""
        product = self.place.product
        tokens = cycle(product.callers.everybody[: self.options.callers])
        asks = [
            compose("GET", f"{BASE}/projects/{id}", product.target, next(tokens))
            for id in self.ranked[:POPULAR]
        ]
        for _ in range(_TIMES_KEPT):
            await bursts.each_once(callers[:_CAPACITY_CALLERS], asks)

    async def _flush(self, reads: ProjectReads) -> tuple[Flush, float]:
        """Flush Valkey under load."""
        seconds = self.options.seconds
        closed = [
            # Whoever comes for the first time costs more, so all are met before.
            Phase("meeting the callers", seconds, callers=_CAPACITY_CALLERS),
            Phase("capacity", seconds, callers=_CAPACITY_CALLERS),
        ]
        capacity = list((await self._played(closed)).phase).count(1) / seconds
        rate = self.options.share * capacity
        self._say(f"Flushing Valkey under {rate:,.0f} requests a second …")
        phases = [
            Phase("warming up", seconds, rate=rate),
            Phase("before", seconds, rate=rate),
            Phase("flushed", _AFTERWARDS_SECONDS, rate=rate),
        ]
        loop = asyncio.get_running_loop()
        counts = []

        def begins(phase: str) -> None:
            counts.append(asyncio.run_coroutine_threadsafe(reads.count(), loop).result())
            if phase == phases[_FLUSHED].name:
                with Redis.from_url(_cache_config(self.place)["default"]["CACHE_REDIS_URL"]) as it:
                    it.flushall()

        played = await self._played(phases, begins)
        _, before, flushed = counts
        after = await reads.count()
        read = (flushed.since(before).rows, after.since(flushed).rows)
        return (
            Flush(
                before=moments.phase_of("under load", played, _BEFORE, READING, read[0]),
                after=moments.phase_of("flushed under load", played, _FLUSHED, READING, read[1]),
                slowest_before_ms=moments.slowest_second(played, _BEFORE),
                slowest_after_ms=moments.slowest_second(played, _FLUSHED),
                recovered=moments.recovery_of(played, _FLUSHED, READING),
                allowed=moments.allowed_reads(played, _FLUSHED, READING, self.options.workers),
            ),
            rate,
        )

    async def _played(
        self, phases: list[Phase], begins: Callable[[str], None] = lambda _: None
    ) -> Played:
        product, callers = self.place.product, self.options.callers
        score = reads_and_changes(
            self.folder,
            product,
            self.ranked[:POPULAR],
            phases,
            connections=callers,
            tokens=product.callers.everybody[:callers],
        )
        played, _ = await asyncio.to_thread(play, self.folder, score, begins=begins)
        return played


def _cache_config(place: Place) -> dict[str, dict[str, Any]]:
    """The guide's `CACHE_CONFIG` of a stack."""
    config: dict[str, dict[str, Any]] = msgspec.json.decode(place.environment["CACHE_CONFIG"])
    return config
