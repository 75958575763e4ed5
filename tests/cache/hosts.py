"""Hosts for tests of the tiers: real clocks, memory and Valkey, and a relay told when to speak."""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec

from mercenary.cache.announcer import Announcer
from mercenary.cache.clocks import Clocks
from mercenary.cache.entries import Codec, Entry, Want
from mercenary.cache.memory import Memory
from mercenary.cache.shelf import Shelf
from mercenary.cache.tiers import Tiers
from mercenary.cache.valkey import Valkey

PATIENCE = 10.0
NUMBERS: Codec[int] = Codec(msgspec.msgpack.encode, msgspec.msgpack.Decoder(int).decode)
LISTED: Want[int] = Want(b"list", ("projects",), NUMBERS)
ONE: Want[int] = Want(b"one", ("project:1",), NUMBERS)


class Host:
    """One process alone on its host, which hears when the test says so."""

    def __init__(self, url: str, *, seconds: float = PATIENCE) -> None:
        self.clocks = Clocks()
        self.valkey = Valkey(url, seconds=seconds)
        self.shelf = Shelf(self.valkey)
        self.tiers = Tiers(self.clocks, Memory(1 << 22), self.shelf, 60.0, PATIENCE)
        self.relay = Announcer(self.valkey, self.clocks)

    async def hear(self, told: Sequence[tuple[int, Sequence[str]]] = ()) -> None:
        """The relay announces, and this host has heard."""
        for _ in range(2):  # the first call learns Valkey's time
            since = time.monotonic()
            await self.relay.announce(told, since=since)
        for stamp, tags in told:
            self.clocks.apply(tags, stamp)
        self.clocks.hear(since)

    def write(self, *tags: str) -> int:
        """What a write does to the clocks of its host."""
        stamp = self.clocks.fresh()
        self.clocks.begin(tags, stamp)
        self.clocks.settle(tags, stamp)
        return stamp

    def kept(self, want: Want[int]) -> Entry[int]:
        """What memory keeps."""
        entry: Entry[int] | None = self.tiers.memory.get(want.key)
        assert entry is not None
        return entry

    async def close(self) -> None:
        await self.tiers.close()
        await self.valkey.close()


class Rows:
    """What is filled from: a number, whose readers wait while `open` isn't set."""

    def __init__(self) -> None:
        self.value = 1
        self.reads = 0
        self.open = asyncio.Event()
        self.open.set()

    async def read(self) -> int:
        self.reads += 1
        value = self.value
        await self.open.wait()
        return value


async def reached(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - it is another task's to make true
            await asyncio.sleep(0.002)
