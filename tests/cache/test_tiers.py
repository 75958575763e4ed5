"""One fill for all who ask, between tasks and between processes, and nothing stale out of it."""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator

import pytest

from mercenary.cache import entries
from mercenary.cache.clocks import Clocks
from mercenary.cache.entries import Coverage, Entry, Standing
from mercenary.cache.shelf import LEASE_SECONDS, Envelope, entry_key
from mercenary.cache.tiers import Source
from mercenary.errors import Unavailable
from mercenary.local.valkey import EmbeddedValkey
from tests.cache.hosts import LISTED, ONE, Host, Rows, reached

CALLERS = 1_000


@pytest.fixture
async def hosts(valkey: EmbeddedValkey) -> AsyncIterator[tuple[Host, Host]]:
    """Two hosts on one Valkey, which is empty; both have heard the relay's word."""
    pair = Host(valkey.url()), Host(valkey.url())
    await pair[0].valkey.ask(lambda redis: redis.flushall())
    for host in pair:
        await host.hear()
    yield pair
    for host in pair:
        await host.close()


@pytest.fixture
def rows() -> Rows:
    return Rows()


async def test_a_thousand_callers_are_one_fill(hosts: tuple[Host, Host], rows: Rows) -> None:
    tiers = hosts[0].tiers
    answers = await asyncio.gather(*(tiers.get(ONE, rows.read) for _ in range(CALLERS)))
    assert set(answers) == {(1, Source.FILLED)}
    assert (rows.reads, tiers.measures.fills, tiers.measures.joined) == (1, 1, CALLERS - 1)


async def test_callers_who_leave_take_nobody_along(hosts: tuple[Host, Host], rows: Rows) -> None:
    tiers = hosts[0].tiers
    rows.open.clear()
    callers = [asyncio.create_task(tiers.get(ONE, rows.read)) for _ in range(10)]
    await reached(lambda: rows.reads == 1)
    for caller in callers[:9]:  # the one who began the fill among them
        caller.cancel()
    rows.open.set()
    assert await callers[9] == (1, Source.FILLED)
    assert rows.reads == 1


async def test_a_fill_that_fails_fails_all_who_wait_and_is_made_again_for_the_next(
    hosts: tuple[Host, Host], rows: Rows
) -> None:
    tiers = hosts[0].tiers

    async def fail() -> int:
        raise Unavailable("The database is away.")

    asked = [tiers.get(LISTED, fail) for _ in range(10)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 10
    assert tiers.measures.failed == 1
    assert await tiers.get(LISTED, rows.read) == (1, Source.FILLED)


async def test_nobody_joins_a_fill_that_began_before_a_change_they_know_of(
    hosts: tuple[Host, Host], rows: Rows
) -> None:
    host = hosts[0]
    rows.open.clear()
    before = asyncio.create_task(host.tiers.get(ONE, rows.read))
    await reached(lambda: rows.reads == 1)
    rows.value = 2
    host.write("project:1")
    after = asyncio.create_task(host.tiers.get(ONE, rows.read))
    await reached(lambda: rows.reads == 2)
    rows.open.set()
    assert (await before)[0] == 1
    assert (await after)[0] == 2
    assert (await host.tiers.get(ONE, rows.read))[0] == 2


async def test_what_one_host_filled_the_other_takes_from_valkey(
    hosts: tuple[Host, Host], rows: Rows
) -> None:
    here, there = hosts
    await here.tiers.get(ONE, rows.read)
    await here.tiers.drain()
    assert await there.tiers.get(ONE, rows.read) == (1, Source.VALKEY)
    assert await there.tiers.get(ONE, rows.read) == (1, Source.MEMORY)
    assert rows.reads == 1


async def test_what_was_changed_here_isnt_taken_from_valkey_before_that_is_announced(
    hosts: tuple[Host, Host], rows: Rows
) -> None:
    here, there = hosts
    await there.tiers.get(ONE, rows.read)
    await there.tiers.drain()
    rows.value = 2
    stamp = here.write("project:1")
    assert await here.tiers.get(ONE, rows.read) == (2, Source.FILLED)
    await there.hear([(stamp, ["project:1"])])
    assert (await there.tiers.get(ONE, rows.read))[0] == 2


async def test_of_two_processes_one_fills_a_list_and_the_other_waits_for_it(
    hosts: tuple[Host, Host], rows: Rows
) -> None:
    here, there = hosts
    rows.open.clear()
    first = asyncio.create_task(here.tiers.get(LISTED, rows.read))
    await reached(lambda: rows.reads == 1)
    second = asyncio.create_task(there.tiers.get(LISTED, rows.read))
    await reached(lambda: there.shelf.measures.looks >= 2)
    rows.open.set()
    assert await first == (1, Source.FILLED)
    assert await second == (1, Source.VALKEY)
    assert (rows.reads, there.tiers.measures.awaited) == (1, 1)


async def test_whoever_waits_for_a_process_that_died_fills_alone(
    hosts: tuple[Host, Host], rows: Rows
) -> None:
    here, there = hosts
    assert await here.shelf.lease(LISTED)  # and nothing more is heard of it
    start = time.monotonic()
    assert await there.tiers.get(LISTED, rows.read) == (1, Source.FILLED)
    assert time.monotonic() - start < LEASE_SECONDS * 10
    assert rows.reads == 1


async def test_a_holder_that_fails_lets_the_next_one_fill(
    hosts: tuple[Host, Host], rows: Rows
) -> None:
    here, there = hosts

    async def fail() -> int:
        raise Unavailable("The database is away.")

    with pytest.raises(Unavailable):
        await here.tiers.get(LISTED, fail)
    assert await there.shelf.lease(LISTED)
    await there.shelf.release(LISTED)
    assert await there.tiers.get(LISTED, rows.read) == (1, Source.FILLED)


async def test_nothing_is_kept_in_valkey_of_a_fill_during_which_it_was_emptied(
    hosts: tuple[Host, Host], rows: Rows
) -> None:
    """Before, in the middle, and with a new epoch begun already: what is put there never counts."""
    here, there = hosts
    rows.open.clear()
    filling = asyncio.create_task(here.tiers.get(ONE, rows.read))
    await reached(lambda: rows.reads == 1)
    await here.valkey.ask(lambda redis: redis.flushall())
    rows.value = 2
    await there.hear([(there.clocks.fresh(), ["project:1"])])
    rows.open.set()
    assert (await filling)[0] == 1
    await here.tiers.drain()
    assert await there.tiers.get(ONE, rows.read) == (2, Source.FILLED)


async def test_what_was_read_before_an_announced_change_doesnt_count_in_valkey(
    hosts: tuple[Host, Host], rows: Rows
) -> None:
    here, there = hosts
    rows.open.clear()
    filling = asyncio.create_task(here.tiers.get(ONE, rows.read))
    await reached(lambda: rows.reads == 1)
    rows.value = 2
    await there.hear([(there.clocks.fresh(), ["project:1"])])  # which `here` hasn't heard
    rows.open.set()
    await filling
    await here.tiers.drain()
    assert await there.tiers.get(ONE, rows.read) == (2, Source.FILLED)


@pytest.mark.parametrize("garbage", [b"", b"\xc1", b"nonsense", b"\x95\xa3one\x90\x00\x00\xa1x"])
async def test_garbage_in_valkey_is_refused_counted_and_replaced(
    hosts: tuple[Host, Host], rows: Rows, garbage: bytes
) -> None:
    here, there = hosts
    key = entry_key(ONE.digest)
    await here.valkey.ask(lambda redis: redis.set(key, garbage))
    assert await here.tiers.get(ONE, rows.read) == (1, Source.FILLED)
    assert here.shelf.measures.foreign == (1 if garbage else 0)
    await here.tiers.drain()
    assert await there.tiers.get(ONE, rows.read) == (1, Source.VALKEY)


@pytest.mark.parametrize(
    ("key", "value"), [(b"other", b"\x07"), (ONE.key, b"\xa1x"), (ONE.key, b"")]
)
async def test_an_entry_of_another_key_or_with_a_value_of_another_form_is_refused(
    hosts: tuple[Host, Host], rows: Rows, key: bytes, value: bytes
) -> None:
    here = hosts[0]
    found = await here.shelf.look(ONE)
    assert found is not None
    assert found.shown is not None
    envelope = Envelope(key, found.shown, time.time(), 0.0, value)
    await here.shelf.put(ONE, envelope, seconds=60.0, leased=False)
    assert await here.tiers.get(ONE, rows.read) == (1, Source.FILLED)
    assert here.shelf.measures.foreign == 1


async def test_what_is_due_is_given_out_while_one_renews_it(
    hosts: tuple[Host, Host], rows: Rows
) -> None:
    tiers = hosts[0].tiers
    await tiers.get(ONE, rows.read)
    entry = hosts[0].kept(ONE)
    entry.due = 0.0
    rows.value = 2
    rows.open.clear()
    answers = await asyncio.gather(*(tiers.get(ONE, rows.read) for _ in range(CALLERS)))
    assert set(answers) == {(1, Source.MEMORY)}
    await reached(lambda: rows.reads == 2)
    rows.open.set()
    await tiers.drain()
    assert await tiers.get(ONE, rows.read) == (2, Source.MEMORY)
    assert (rows.reads, tiers.measures.renewals) == (2, 1)


async def test_a_renewal_that_fails_is_tried_again_later_and_not_by_everybody(
    hosts: tuple[Host, Host], rows: Rows
) -> None:
    tiers = hosts[0].tiers
    await tiers.get(ONE, rows.read)
    entry = hosts[0].kept(ONE)
    entry.due = 0.0

    async def fail() -> int:
        raise Unavailable("The database is away.")

    for _ in range(10):
        assert await tiers.get(ONE, fail) == (1, Source.MEMORY)
        await tiers.drain()
    assert (tiers.measures.renewals, tiers.measures.failed) == (1, 1)
    assert time.monotonic() < entry.due < entry.ends


def test_entries_end_early_by_chance_and_the_costly_ones_earlier() -> None:
    """Between 90 and 100% of the lifetime, less an exponential part whose mean is the cost."""
    clocks = Clocks()
    random.seed(7)
    coverage = Coverage(ONE, clocks, 0.0)

    def due(cost: float) -> list[float]:
        return [
            Entry(ONE, 1, 1, coverage, seconds=100.0, cost=cost, now=0.0).due for _ in range(4_000)
        ]

    cheap, costly = due(0.0), due(10.0)
    assert min(cheap) >= 100.0 * (1 - entries.JITTER)
    assert max(cheap) <= 100.0
    assert statistics.mean(cheap) == pytest.approx(95.0, abs=0.5)
    assert statistics.mean(costly) == pytest.approx(85.0, abs=1.0)
    assert max(costly) <= 100.0


def test_an_entry_is_due_then_over() -> None:
    clocks = Clocks()
    clocks.hear(1_000_000.0)
    entry = Entry(ONE, 1, 1, Coverage(ONE, clocks, 0.0), seconds=100.0, cost=0.0, now=0.0)
    assert [entry.stands(clocks, now) for now in (89.0, 105.0, 111.0)] == [
        Standing.CURRENT,
        Standing.DUE,
        Standing.EXPIRED,
    ]
