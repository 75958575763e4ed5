"""The way to Valkey: no reply goes astray, nobody waits long, and nothing is unbounded."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from mercenary.cache.valkey import CONNECTIONS, Script, Valkey, ValkeyAway
from mercenary.local.valkey import EmbeddedValkey

PATIENCE = 10.0


@pytest.fixture
async def ours(valkey: EmbeddedValkey) -> AsyncIterator[Valkey]:
    """A way to the session's Valkey."""
    way = Valkey(valkey.url(), seconds=PATIENCE)
    yield way
    await way.close()


async def echo(way: Valkey, word: str) -> str:
    reply = await way.ask(lambda redis: redis.echo(word))
    assert isinstance(reply, bytes)
    return reply.decode()


async def test_no_caller_gets_the_reply_of_one_who_left(ours: Valkey) -> None:
    """redis-py once handed it to the next (CVE-2023-28858)."""
    chance = random.Random(7)
    replies = 0
    for wave in range(30):
        calls = {f"{wave} {number}": None for number in range(20)}
        tasks = {word: asyncio.create_task(echo(ours, word)) for word in calls}
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        for task in chance.sample(list(tasks.values()), 10):
            task.cancel()
        outcomes = await asyncio.gather(*tasks.values(), return_exceptions=True)
        for word, outcome in zip(tasks, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                assert outcome == word
                replies += 1
    assert replies >= 30 * 10
    assert not ours.away


async def test_connections_are_bounded_however_many_ask(ours: Valkey) -> None:
    words = [str(number) for number in range(500)]
    assert await asyncio.gather(*(echo(ours, word) for word in words)) == words
    clients = await ours.ask(lambda redis: redis.client_list())
    assert len([client for client in clients if client["cmd"] == "echo"]) <= CONNECTIONS


async def test_a_script_that_valkey_has_forgotten_is_sent_again(ours: Valkey) -> None:
    script = Script("return {KEYS[1], ARGV[1] + 1}")
    for _ in range(2):
        assert await ours.run(script, ["key"], [41]) == [b"key", 42]
        await ours.ask(lambda redis: redis.script_flush())


async def test_a_valkey_that_hangs_is_asked_once_and_found_again(valkey: EmbeddedValkey) -> None:
    way = Valkey(valkey.url(), seconds=0.2)
    assert await way.ask(lambda redis: redis.ping())
    assert valkey.child.pid is not None
    os.kill(valkey.child.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ValkeyAway):
            await echo(way, "hello")
        for _ in range(100):
            with pytest.raises(ValkeyAway):
                await echo(way, "hello")
    finally:
        os.kill(valkey.child.pid, signal.SIGCONT)
    assert (way.measures.failures, way.measures.spared) == (1, 100)
    async with asyncio.timeout(PATIENCE):
        while way.away:  # noqa: ASYNC110 - it is for the way to find out
            await asyncio.sleep(0.01)
    assert await echo(way, "hello") == "hello"
    await way.close()


async def test_a_reply_that_comes_late_is_no_absence(valkey: EmbeddedValkey, ours: Valkey) -> None:
    way = Valkey(valkey.url(), seconds=0.2)
    assert await way.ask(lambda redis: redis.ping())
    with capture_logs() as logged:
        await ours.ask(lambda redis: redis.client_pause(300))
        with pytest.raises(ValkeyAway):
            await echo(way, "hello")
        async with asyncio.timeout(PATIENCE):
            while way.away:  # noqa: ASYNC110 - it is for the way to find out
                await asyncio.sleep(0.01)
    assert logged == []
    assert await echo(way, "hello") == "hello"
    await way.close()


async def test_what_is_closed_while_valkey_is_away_leaves_nothing_behind() -> None:
    way = Valkey("unix:///nowhere/valkey.sock", seconds=PATIENCE)
    with pytest.raises(ValkeyAway):
        await echo(way, "hello")
    assert way.away
    await way.close()
    assert [task for task in asyncio.all_tasks() if task.get_name() == "valkey is away"] == []
