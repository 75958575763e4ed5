"""A kept answer that was made of a kept result is no newer than that."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from mercenary.cache import tiers as tiers_module
from mercenary.cache.announcer import Announcer
from mercenary.cache.clocks import Clocks
from mercenary.cache.entries import YOUNG_SECONDS, Codec, Entry, Standing, Want
from mercenary.cache.memory import Memory
from mercenary.cache.shelf import Shelf
from mercenary.cache.tiers import Source, Tiers
from mercenary.cache.valkey import Valkey
from mercenary.local.valkey import EmbeddedValkey

PATIENCE = 10.0
NUMBERS: Codec[int] = Codec(msgspec.msgpack.encode, msgspec.msgpack.Decoder(int).decode)


class Rows:
    """Rows that are counted, and a page that tells how many there are."""

    def __init__(self, tiers: Tiers) -> None:
        self.tiers = tiers
        self.count = 1
        self.counted = 0
        self.total = Want(b"total", ("projects",), NUMBERS)
        self.page = Want(b"page", ("projects",), NUMBERS)

    async def count_all(self) -> int:
        self.counted += 1
        return self.count

    async def show(self) -> int:
        return (await self.tiers.get(self.total, self.count_all))[0]

    def add(self) -> None:
        """What a write does."""
        self.count += 1
        clocks = self.tiers.clocks
        clocks.settle(["projects"], clocks.fresh())

    def kept(self, want: Want[int]) -> Entry[Any]:
        entry: Entry[Any] | None = self.tiers.memory.get(want.key)
        assert entry is not None
        return entry


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[Rows]:
    clocks = Clocks(tmp_path / "clocks")
    nowhere = Valkey("redis://127.0.0.1:1/0", seconds=0.05)
    tiers = Tiers(clocks, Memory(1 << 20), Shelf(nowhere), seconds=60.0, deadline=5.0)
    yield Rows(tiers)
    await tiers.close()
    await nowhere.close()


async def test_the_second_page_doesnt_count_again(rows: Rows) -> None:
    assert (await rows.tiers.get(rows.page, rows.show)) == (1, Source.FILLED)
    other = Want(b"page 2", ("projects",), NUMBERS)
    assert (await rows.tiers.get(other, rows.show)) == (1, Source.FILLED)
    assert rows.counted == 1


async def test_a_page_with_a_total_from_before_a_write_ends_when_that_does(rows: Rows) -> None:
    assert await rows.show() == 1
    rows.add()
    assert (await rows.tiers.get(rows.page, rows.show))[0] == 1
    total, page = rows.kept(rows.total), rows.kept(rows.page)
    assert not page.coverage.knows_all
    young = total.coverage.filled + YOUNG_SECONDS
    assert page.stands(rows.tiers.clocks, young - 0.01) <= Standing.DUE
    assert page.stands(rows.tiers.clocks, young + 0.01) is Standing.MOVED


async def test_a_page_knows_as_much_as_a_total_that_was_counted_for_it(rows: Rows) -> None:
    rows.add()
    assert (await rows.tiers.get(rows.page, rows.show))[0] == 2
    page = rows.kept(rows.page)
    assert page.coverage.knows_all
    assert page.stands(rows.tiers.clocks, time.monotonic()) is Standing.CURRENT


async def test_whoever_wants_it_anew_has_it_counted_anew(rows: Rows) -> None:
    assert await rows.show() == 1
    rows.count = 5
    assert await rows.tiers.force(rows.page, rows.show) == 5
    assert rows.counted == 2
    assert await rows.show() == 5


def host_of(way: Valkey) -> Rows:
    """A host that has heard of everything until now."""
    clocks = Clocks()
    clocks.hear(time.monotonic())
    return Rows(Tiers(clocks, Memory(1 << 20), Shelf(way), seconds=60.0, deadline=PATIENCE))


async def shown_on(host: Rows) -> tuple[int, Source]:
    """What a host's page says, once whatever it put into Valkey is there."""
    found = await host.tiers.get(host.page, host.show)
    while host.tiers._tasks:
        await asyncio.wait(host.tiers._tasks)
    return found


async def test_a_total_that_others_know_to_be_old_is_in_no_page_of_theirs(
    valkey: EmbeddedValkey,
) -> None:
    way = Valkey(valkey.url(), seconds=PATIENCE)
    await way.ask(lambda redis: redis.flushall())
    relay = Announcer(way, Clocks())
    await relay.announce([], since=time.monotonic())
    here, there = host_of(way), host_of(way)
    assert await here.show() == 1
    stamp = Clocks().fresh()
    await relay.announce([(stamp, ["projects"])], since=time.monotonic())
    there.tiers.clocks.apply(["projects"], stamp)  # and `here` hasn't heard of it yet
    there.count = 2
    assert await shown_on(here) == (1, Source.FILLED)
    assert await shown_on(there) == (2, Source.FILLED)
    for host in (here, there):
        await host.tiers.close()
    await way.close()


async def test_a_page_whose_total_was_counted_for_it_is_shared(valkey: EmbeddedValkey) -> None:
    way = Valkey(valkey.url(), seconds=PATIENCE)
    await way.ask(lambda redis: redis.flushall())
    relay = Announcer(way, Clocks())
    for _ in range(2):  # its first word begins an epoch
        await relay.announce([], since=time.monotonic())
    here, there = host_of(way), host_of(way)
    assert await shown_on(here) == (1, Source.FILLED)
    assert await shown_on(there) == (1, Source.VALKEY)
    assert there.counted == 0
    for host in (here, there):
        await host.tiers.close()
    await way.close()


async def eventually(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


async def test_nobody_joins_a_page_that_waits_for_a_total_too_old_for_them(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is slow: the total of before a write comes when that is long acknowledged."""
    counted = asyncio.Event()

    async def count_slowly() -> int:
        rows.counted, count = rows.counted + 1, rows.count
        await counted.wait()
        return count

    async def show() -> int:
        return (await rows.tiers.get(rows.total, count_slowly))[0]

    def ask(want: Want[int], fill: Any) -> "asyncio.Task[tuple[int, Source]]":
        return asyncio.create_task(rows.tiers.get(want, fill))

    asked = [ask(rows.total, count_slowly)]
    await eventually(lambda: rows.counted == 1)
    rows.add()
    asked.append(ask(rows.page, show))
    await eventually(lambda: rows.tiers.measures.joined == 1)
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + YOUNG_SECONDS, time=time.time)
    monkeypatch.setattr(tiers_module, "time", later)
    rows.tiers.clocks.hear(later.monotonic())
    asked.append(ask(rows.page, show))
    await eventually(lambda: rows.counted == 2 or rows.tiers.measures.joined == 2)
    counted.set()
    assert [found for found, _ in await asyncio.gather(*asked)] == [1, 1, 2]
