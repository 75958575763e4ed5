"""What is broken on purpose while the load goes on, one thing after the other, and mended again."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import redis.asyncio as redis

from mercenary.local.children import Child
from tests.coherence.client import Log
from tests.coherence.history import Fault
from tests.coherence.hosts import Host, Hosts, wake
from tests.replicas.servers import paused

LONGEST_REPAIR: Final = 60.0  # seconds
_POLL: Final = 0.05
_TWO_AT_ONCE: Final = 0.3
_ALL_AT_ONCE: Final = 0.4
_OF_VALKEY: Final = frozenset(
    {"Valkey killed", "Valkey stopped", "Valkey paused", "Valkey flushed", "subscriptions cut"}
)


class Faults:
    """Breaks and mends: `names` says what there is."""

    def __init__(self, hosts: Hosts, log: Log, chance: random.Random) -> None:
        self.hosts = hosts
        self.log = log
        self.chance = chance
        self.all: dict[str, Callable[[], AbstractAsyncContextManager[None]]] = {
            "Valkey killed": self._valkey_killed,
            "Valkey stopped": self._valkey_stopped,
            "Valkey paused": self._valkey_paused,
            "Valkey flushed": self._valkey_flushed,
            "subscriptions cut": self._subscriptions_cut,
            "worker killed after its commit": self._worker_killed_after_commit,
            "worker killed": self._worker_killed,
            "workers stopped": self._workers_stopped,
            "relays killed": self._relays_killed,
            "relays stopped": self._relays_stopped,
        }
        if hosts.replicas:
            self.all |= {
                "a replica killed": self._replica_killed,
                "a replica paused": self._replica_paused,
                "replicas paused": self._replicas_paused,
            }

    async def run(self, seconds: float) -> None:
        """Break each thing once, in an order drawn by chance, within about so many seconds."""
        troubles = self._troubles()
        share = seconds / len(troubles)
        for names in troubles:
            begin = time.monotonic()
            async with AsyncExitStack() as broken:
                for name in names:
                    await broken.enter_async_context(self.all[name]())
                # Long enough that what is kept would become too old, had nobody noticed.
                await asyncio.sleep(max(1.3, share * self.chance.uniform(0.4, 0.6)))
            await _until(lambda: self.hosts.is_whole, "not everything runs again")
            self.log.history.faults.append(Fault(" and ".join(names), begin, time.monotonic()))
            self.log.tally.update(names)
            await asyncio.sleep(max(0.3, begin + share - time.monotonic()))

    def _troubles(self) -> list[list[str]]:
        """What is broken one after the other: mostly one thing, at times one here and one there."""
        names = self.chance.sample(list(self.all), len(self.all))
        troubles = []
        while names:
            together = [names.pop()]
            others = [name for name in names if (name in _OF_VALKEY) != (together[0] in _OF_VALKEY)]
            if others and self.chance.random() < _TWO_AT_ONCE:
                together.append(others[0])
                names.remove(others[0])
            troubles.append(together)
        return troubles

    @asynccontextmanager
    async def _valkey_killed(self) -> AsyncIterator[None]:
        await self._kill(self.hosts.valkey.child)
        try:
            yield
        finally:
            self.hosts.valkey.spawn()
            await _until(self.hosts.valkey.answers, "Valkey doesn't answer")

    @asynccontextmanager
    async def _valkey_stopped(self) -> AsyncIterator[None]:
        _signal(self.hosts.valkey.child, signal.SIGSTOP)
        try:
            yield
        finally:
            wake(self.hosts.valkey.child)

    @asynccontextmanager
    async def _valkey_paused(self) -> AsyncIterator[None]:
        await self._command("CLIENT", "PAUSE", str(self.chance.randrange(800, 2500)), "ALL")
        yield

    @asynccontextmanager
    async def _valkey_flushed(self) -> AsyncIterator[None]:
        for _ in range(3):
            await self._command("FLUSHALL")
            await asyncio.sleep(self.chance.uniform(0.0, 0.3))
        yield

    @asynccontextmanager
    async def _subscriptions_cut(self) -> AsyncIterator[None]:
        for _ in range(4):
            await self._command("CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.sleep(self.chance.uniform(0.0, 0.4))
        yield

    @asynccontextmanager
    async def _worker_killed_after_commit(self) -> AsyncIterator[None]:
        point = self._some_host().points / "after-commit"
        point.touch()
        yield
        await _until(lambda: not point.exists(), "nobody committed anything")

    @asynccontextmanager
    async def _worker_killed(self) -> AsyncIterator[None]:
        with suppress(ProcessLookupError):
            os.kill(self.chance.choice(self._some_host().workers), signal.SIGKILL)
        yield

    @asynccontextmanager
    async def _workers_stopped(self) -> AsyncIterator[None]:
        workers = self._some_host().workers
        stopped = workers if self.chance.random() < _ALL_AT_ONCE else self.chance.sample(workers, 1)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    @asynccontextmanager
    async def _relays_killed(self) -> AsyncIterator[None]:
        relays = self._some_relays()
        for relay in relays:
            await self._kill(relay)
        try:
            yield
        finally:
            for relay in relays:
                relay.spawn()

    @asynccontextmanager
    async def _relays_stopped(self) -> AsyncIterator[None]:
        relays = self._some_relays()
        for relay in relays:
            _signal(relay, signal.SIGSTOP)
        try:
            yield
        finally:
            for relay in relays:
                wake(relay)

    @asynccontextmanager
    async def _replica_killed(self) -> AsyncIterator[None]:
        replica = self.chance.choice(self.hosts.replicas)
        await self._kill(replica.child)
        try:
            yield
        finally:
            await asyncio.to_thread(replica.start)

    @asynccontextmanager
    async def _replica_paused(self) -> AsyncIterator[None]:
        async with paused(self.chance.choice(self.hosts.replicas).uri):
            yield

    @asynccontextmanager
    async def _replicas_paused(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for replica in self.hosts.replicas:
                await stack.enter_async_context(paused(replica.uri))
            yield

    def _some_host(self) -> Host:
        return self.chance.choice(self.hosts.hosts)

    def _some_relays(self) -> list[Child]:
        """One of them, so that the other takes over, or more often all."""
        relays = [host.relay for host in self.hosts.hosts]
        return [self.chance.choice(relays)] if self.chance.random() < 0.3 else relays

    async def _command(self, *words: str) -> None:
        async with redis.Redis.from_url(self.hosts.valkey.url(), socket_timeout=5) as valkey:
            await valkey.execute_command(*words)  # type: ignore[no-untyped-call]

    async def _kill(self, child: Child) -> None:
        _signal(child, signal.SIGKILL)
        await _until(lambda: child.pid is None, f"{child.name} doesn't die")


async def _until(condition: Callable[[], bool], complaint: str) -> None:
    """Poll in a thread, for the load goes on."""
    end = time.monotonic() + LONGEST_REPAIR
    while not await asyncio.to_thread(condition):
        if time.monotonic() > end:
            raise TimeoutError(complaint)
        await asyncio.sleep(_POLL)


def _signal(child: Child, number: signal.Signals) -> None:
    if child.pid is not None:
        os.kill(child.pid, number)
