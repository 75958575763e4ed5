"""What the relay announces is heard on every host, and trusted no longer than its word reaches."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from mercenary.cache import announcer
from mercenary.cache.announcer import CLOCKS, WORD, Announcer
from mercenary.cache.clocks import EVERYTHING, Clocks, slot_of
from mercenary.cache.listener import Listener
from mercenary.cache.valkey import Valkey
from mercenary.local.valkey import EmbeddedValkey

PATIENCE = 10.0


@pytest.fixture
async def way(valkey: EmbeddedValkey) -> AsyncIterator[Valkey]:
    way = Valkey(valkey.url(), seconds=PATIENCE)
    await way.ask(lambda redis: redis.flushall())
    yield way
    await way.close()


@pytest.fixture
async def here(valkey: EmbeddedValkey, way: Valkey) -> AsyncIterator[Clocks]:
    """The clocks of a host that listens."""
    clocks = Clocks()
    listener = Listener(valkey.url(), clocks)
    before = clocks.read(slot_of(EVERYTHING))
    listener.start()
    await reached(lambda: clocks.read(slot_of(EVERYTHING)) != before)
    yield clocks
    await listener.close()


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what another process did has no event here
            await asyncio.sleep(0.005)


async def say_until(speaker: Announcer, condition: Callable[[], bool]) -> None:
    """Give the relay's word again and again."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await speaker.announce([], since=time.monotonic())
            await asyncio.sleep(0.02)


async def test_a_change_moves_the_clocks_of_a_host_that_listens(way: Valkey, here: Clocks) -> None:
    before = here.read(slot_of("project:1"))
    elsewhere = Clocks()
    await Announcer(way, elsewhere).announce([(elsewhere.fresh(), ["project:1"])], since=None)
    await reached(lambda: here.read(slot_of("project:1")) != before)


async def test_the_word_tells_a_host_up_to_when_it_has_heard_of_everything(
    way: Valkey, here: Clocks
) -> None:
    start = time.monotonic()
    await say_until(Announcer(way, Clocks()), lambda: here.heard > start)
    assert here.heard <= time.monotonic()


async def test_no_word_is_given_where_changes_were_left(way: Valkey, here: Clocks) -> None:
    speaker = Announcer(way, Clocks())
    start = time.monotonic()
    await say_until(speaker, lambda: here.heard > start)
    heard = here.heard
    before = here.read(slot_of("project:1"))
    await speaker.announce([(Clocks().fresh(), ["project:1"])], since=None)
    await reached(lambda: here.read(slot_of("project:1")) != before)
    assert here.heard == heard


async def test_an_old_word_is_as_old_as_it_says(way: Valkey, here: Clocks) -> None:
    speaker = Announcer(way, Clocks())
    await speaker.announce([], since=None)  # learns what Valkey's clock shows
    long_ago = time.monotonic() - 3.0
    async with asyncio.timeout(PATIENCE):
        while here.heard == 0.0:
            await speaker.announce([], since=long_ago)
            await asyncio.sleep(0.02)
    assert here.heard <= long_ago
    assert not await way.ask(lambda redis: redis.exists(WORD))


async def test_a_host_counts_how_late_it_hears_of_a_change(
    valkey: EmbeddedValkey, way: Valkey
) -> None:
    clocks = Clocks()
    listener = Listener(valkey.url(), clocks)
    listener.start()
    await reached(lambda: listener.measures.subscriptions == 1)
    begun = [time.time() - 5, time.time() + 5]  # of a host whose clock is ahead
    told = [(clocks.fresh(), ["project:1"]), (clocks.fresh(), ["project:2"])]
    await Announcer(way, Clocks()).announce(told, since=None, begun=begun)
    await reached(lambda: listener.measures.delays.count == 2)
    assert 5 <= listener.measures.delays.total < 5 + PATIENCE
    assert listener.measures.delays.buckets[0] == 1
    await listener.close()


async def test_a_subscription_that_was_cut_empties_what_the_host_keeps(
    way: Valkey, here: Clocks
) -> None:
    before = here.read(slot_of(EVERYTHING))
    await way.ask(lambda redis: redis.client_kill_filter(_type="pubsub"))
    await reached(lambda: here.read(slot_of(EVERYTHING)) != before)


async def test_the_word_in_valkey_expires_with_its_speaker(way: Valkey) -> None:
    speaker = Announcer(way, Clocks())
    for _ in range(2):
        await speaker.announce([], since=time.monotonic())
    left = await way.ask(lambda redis: redis.pttl(WORD))
    assert 0 < left <= announcer.WORD_SECONDS * 1000


async def test_an_emptied_valkey_begins_a_new_epoch(way: Valkey) -> None:
    speaker = Announcer(way, Clocks())
    epochs = []
    for _ in range(2):
        for _ in range(2):
            await speaker.announce([], since=time.monotonic())
            epochs.append(await way.ask(lambda redis: redis.hget(CLOCKS, "epoch")))
        await way.ask(lambda redis: redis.flushall())
    assert epochs[0] == epochs[1]
    assert epochs[2] == epochs[3]
    assert epochs[0] != epochs[2]


async def test_a_valkey_with_the_memory_of_another_process_begins_a_new_epoch(
    way: Valkey,
) -> None:
    speaker = Announcer(way, Clocks())
    await speaker.announce([(Clocks().fresh(), ["project:1"])], since=None)
    epoch = await way.ask(lambda redis: redis.hget(CLOCKS, "epoch"))
    await way.ask(lambda redis: redis.hset(CLOCKS, "run", "another"))
    await speaker.announce([], since=None)
    fields = await way.ask(lambda redis: redis.hgetall(CLOCKS))
    assert set(fields) == {b"run", b"epoch"}
    assert fields[b"epoch"] != epoch


async def test_hosts_forget_what_they_took_from_a_valkey_with_the_memory_of_another_process(
    way: Valkey, here: Clocks
) -> None:
    """Until the new epoch began, the old word held, and what had been changed since looked kept."""
    speaker = Announcer(way, Clocks())
    await speaker.announce([], since=None)
    await way.ask(lambda redis: redis.hset(CLOCKS, "run", "another"))
    before = here.read(slot_of(EVERYTHING))
    for _ in range(2):
        await speaker.announce([], since=None)
    await reached(lambda: here.read(slot_of(EVERYTHING)) != before)


async def test_a_clock_of_valkeys_that_was_put_back_gives_no_word(way: Valkey) -> None:
    speaker = Announcer(way, Clocks())
    await speaker.announce([], since=None)
    # What was seen a minute later than it is now: so it looks after the clock was put back.
    await speaker.announce([], since=time.monotonic() + 60)
    assert not await way.ask(lambda redis: redis.exists(WORD))


@pytest.mark.parametrize("garbage", [b"", b"nonsense", b"1 \xc1", b"x y", b"1 \x91\x92\xa1a\x90"])
async def test_a_message_that_isnt_ours_makes_a_host_listen_anew(
    way: Valkey, here: Clocks, garbage: bytes
) -> None:
    before = here.read(slot_of(EVERYTHING))
    await way.ask(lambda redis: redis.publish(announcer.CHANNEL, garbage))
    await reached(lambda: here.read(slot_of(EVERYTHING)) != before)
    start = time.monotonic()
    await say_until(Announcer(way, Clocks()), lambda: here.heard > start)
