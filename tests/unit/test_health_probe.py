"""A probe: one question for all who ask, never cancelled, bounded in time."""

import asyncio

import pytest

from mercenary.errors import Unavailable
from mercenary.health.probe import Probe


class Server:
    """Answers when it is told to, and counts its questions."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.asked += 1
        return await asyncio.shield(self.answer)


async def test_those_who_ask_together_share_one_question() -> None:
    server = Server()
    probe = Probe(server, what="server", seconds=30)
    asking = [asyncio.create_task(probe()) for _ in range(100)]
    await asyncio.sleep(0)
    server.answer.set_result("pong")
    assert await asyncio.gather(*asking) == ["pong"] * 100
    assert server.asked == 1


async def test_each_question_is_asked_anew() -> None:
    server = Server()
    server.answer.set_result("pong")
    probe = Probe(server, what="server", seconds=30)
    assert [await probe(), await probe()] == ["pong", "pong"]
    assert server.asked == 2


async def test_nobody_waits_longer_than_the_limit(nothing_is_left_behind: None) -> None:
    server = Server()
    probe = Probe(server, what="server", seconds=0.01)
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"The server doesn't answer\."):
            await probe()
    assert server.asked == 1
    server.answer.set_exception(OSError("too late"))
    await probe.close()


async def test_a_caller_who_leaves_disturbs_nobody() -> None:
    server = Server()
    probe = Probe(server, what="server", seconds=30)
    first, second = asyncio.create_task(probe()), asyncio.create_task(probe())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    server.answer.set_result("pong")
    assert await second == "pong"
    assert server.asked == 1


async def test_a_failure_is_told_without_its_words(nothing_is_left_behind: None) -> None:
    server = Server()
    server.answer.set_exception(OSError("password of postgres"))
    probe = Probe(server, what="server", seconds=30)
    with pytest.raises(Unavailable) as refused:
        await probe()
    assert refused.value.detail == "The server can't be reached."
    assert isinstance(refused.value.__cause__, OSError)
    await probe.close()


async def test_closing_before_any_question_is_fine() -> None:
    await Probe(Server(), what="server", seconds=1).close()


async def test_closing_gives_up_on_a_server_that_hangs(nothing_is_left_behind: None) -> None:
    probe = Probe(Server(), what="server", seconds=0.01)
    with pytest.raises(Unavailable):
        await probe()
    await probe.close()
    with pytest.raises(Unavailable):
        await probe()
    await probe.close()
