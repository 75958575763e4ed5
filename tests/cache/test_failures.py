"""Whatever Valkey does, answers are right, and hardly anybody waits for it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mercenary.cache.entries import Want
from mercenary.cache.shelf import Shelf
from mercenary.cache.tiers import Source
from mercenary.local.valkey import EmbeddedValkey
from tests.cache.hosts import LISTED, NUMBERS, ONE, PATIENCE, Host, Rows, reached
from tests.cache.proxy import Proxy, Spoil, as_it_is, proxied, slow

SECONDS = 0.02
MANY = 200


async def silent(reply: bytes) -> bytes | None:
    """Say nothing, as a server does that was stopped."""
    await asyncio.Event().wait()
    return reply


async def cutting(reply: bytes) -> bytes | None:
    """End the connection instead of a reply."""
    del reply
    return None


async def halving(reply: bytes) -> bytes | None:
    """Give half of a reply; the rest never comes."""
    return reply[: len(reply) // 2]


async def babbling(reply: bytes) -> bytes | None:
    """Say what isn't the protocol."""
    return b"<html>" + reply[::-1]


async def miscounting(reply: bytes) -> bytes | None:
    """Say what begins like the protocol."""
    del reply
    return b"*x\r\n"


async def full(reply: bytes) -> bytes | None:
    """Refuse, as one does that has no memory left, or that was made a replica."""
    return b"-OOM command not allowed when used memory > 'maxmemory'.\r\n" * reply.count(b"\n")


@pytest.fixture
async def proxy(valkey: EmbeddedValkey) -> AsyncIterator[Proxy]:
    async with proxied(valkey.socket) as proxy:
        yield proxy


@pytest.fixture
async def host(proxy: Proxy) -> AsyncIterator[Host]:
    """A host that has heard the word, and grants Valkey 20 ms from now on."""
    host = Host(proxy.url)
    await host.valkey.ask(lambda redis: redis.flushall())
    await host.hear()
    host.valkey.seconds = SECONDS
    yield host
    proxy.spoil = as_it_is
    await host.close()


def wants(count: int) -> list[Want[int]]:
    return [Want(b"%d" % number, (f"project:{number}",), NUMBERS) for number in range(count)]


@pytest.mark.parametrize("spoil", [silent, slow, cutting, halving, babbling, miscounting, full])
async def test_whatever_it_answers_everybody_is_answered_right(
    proxy: Proxy, host: Host, spoil: Spoil
) -> None:
    """One trip may be in vain, in each of the two lanes; after that nobody asks any more."""
    rows = Rows()
    assert (await host.tiers.get(ONE, rows.read))[0] == 1
    proxy.spoil = spoil
    rows.value = 2
    host.write("project:1")
    before = host.valkey.measures.calls
    for want in (ONE, LISTED, *wants(MANY)):
        assert await host.tiers.get(want, rows.read) == (2, Source.FILLED)
        assert await host.tiers.get(want, rows.read) == (2, Source.MEMORY)
    await host.tiers.drain()
    assert host.valkey.away
    assert host.valkey.measures.calls - before <= 4
    assert host.valkey.measures.failures >= 1


async def test_a_crowd_behind_a_slow_one_waits_for_one_trip(proxy: Proxy, host: Host) -> None:
    rows = Rows()
    proxy.spoil = slow
    before = host.valkey.measures.calls
    answers = await asyncio.gather(*(host.tiers.get(want, rows.read) for want in wants(MANY)))
    assert set(answers) == {(1, Source.FILLED)}
    # One that carries the first, and one in the other lane.
    assert host.valkey.measures.calls - before <= 2
    assert host.shelf.measures.unanswered >= MANY - 1


async def test_while_it_is_slow_it_is_left_alone_and_used_again_when_it_is_back(
    proxy: Proxy, host: Host
) -> None:
    rows = Rows()
    proxy.spoil = slow
    for want in wants(MANY):
        await host.tiers.get(want, rows.read)
    calls = host.valkey.measures.calls
    for want in wants(MANY):
        host.write(*want.tags)
        await host.tiers.get(want, rows.read)
    assert host.valkey.measures.calls == calls
    proxy.spoil = as_it_is
    host.valkey.seconds = PATIENCE
    await reached(lambda: not host.valkey.away)
    await host.hear()
    await host.tiers.get(Want(b"after", ("project:9999",), NUMBERS), rows.read)
    await host.tiers.drain()
    assert host.valkey.measures.calls > calls
    assert host.shelf.measures.puts >= 1


async def test_gone_for_good_it_is_counted_and_everything_goes_on(proxy: Proxy, host: Host) -> None:
    rows = Rows()
    await proxy.close()
    for want in wants(MANY):
        assert await host.tiers.get(want, rows.read) == (1, Source.FILLED)
        rows.value = 2
        host.write(*want.tags)
        assert await host.tiers.get(want, rows.read) == (2, Source.FILLED)
        rows.value = 1
    assert host.valkey.away
    assert host.valkey.measures.failures <= 2


async def test_a_lost_put_is_counted(proxy: Proxy, host: Host) -> None:
    rows = Rows()
    rows.open.clear()
    filling = asyncio.create_task(host.tiers.get(ONE, rows.read))
    await reached(lambda: rows.reads == 1)
    proxy.spoil = cutting
    rows.open.set()
    assert await filling == (1, Source.FILLED)
    await host.tiers.drain()
    assert host.shelf.measures.lost == 1


async def test_sessions_valkey_gone_alone_leaves_the_other_one_in_use(
    valkey: EmbeddedValkey, host: Host, proxy: Proxy
) -> None:
    """Entries there, clocks here: without either, whoever asks is answered from the database."""
    apart = Host(valkey.url(1))
    shelf = Shelf(apart.valkey, host.valkey)
    host.valkey.seconds = PATIENCE
    found = await shelf.look(ONE)
    assert found is not None
    assert found.shown is not None
    rows = Rows()
    apart.tiers.shelf = shelf
    apart.clocks.hear(host.clocks.heard)
    assert await apart.tiers.get(ONE, rows.read) == (1, Source.FILLED)
    await apart.tiers.drain()
    again = await shelf.look(ONE)
    assert again is not None
    assert again.value == 1
    await host.hear([(host.clocks.fresh(), ["project:1"])])
    moved = await shelf.look(ONE)
    assert moved is not None
    assert moved.envelope is None
    await proxy.close()
    assert await shelf.look(ONE) is None
    assert shelf.away
    assert not apart.valkey.away
    await apart.close()
