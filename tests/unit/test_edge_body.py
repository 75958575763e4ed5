"""Bodies on their way: whole, in parts, too large, too slow, or too many at once."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from mercenary.edge.body import Body
from mercenary.errors import BadRequest, Overloaded, PayloadTooLarge, RequestTimeout
from tests.unit.desk import turns

LIMIT = 100
LEFT: Message = {"type": "http.disconnect"}


class Takes:
    def __init__(self, body: bool) -> None:
        self.takes_body = body


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """What is behind the layer; `scope` shows what it was given."""


def layer(*, seconds: float = 60, room: int = 2 * LIMIT) -> Body:
    return Body(app, limit=LIMIT, seconds=seconds, room=room)


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


class Sender:
    """Sends these messages, then nothing for good."""

    def __init__(self, *messages: Message) -> None:
        self.left = list(messages)

    async def __call__(self) -> Message:
        if not self.left:
            await asyncio.get_running_loop().create_future()
        return self.left.pop(0)


async def read(
    body: Body,
    sender: Sender,
    headers: Sequence[tuple[bytes, bytes]] = (),
    invocation: Takes | None = None,
) -> Any:
    """The body that the application is given."""

    async def send(message: Message) -> None:
        raise AssertionError("nothing is answered here")

    invocation = invocation or Takes(body=True)
    scope: Scope = {"type": "http", "headers": list(headers), "invocation": invocation}
    await body(scope, sender, send)
    return scope.get("body")


@pytest.mark.parametrize(
    "messages",
    [
        [part(b"abc", more=False)],
        [part(b"abc"), part(b"", more=False)],
        [part(b"a"), part(b""), part(b"bc", more=False)],
    ],
)
async def test_a_body_is_put_together(messages: list[Message]) -> None:
    assert await read(layer(), Sender(*messages)) == b"abc"


async def test_a_body_of_the_length_that_was_said_is_waited_for_no_longer() -> None:
    said = [(b"content-length", b"3")]
    assert await read(layer(), Sender(part(b"abc")), said) == b"abc"
    assert await read(layer(), Sender(part(b"a"), part(b"bc")), said) == b"abc"


async def test_no_body_is_read_where_none_is_taken() -> None:
    sender = Sender(part(b"abc", more=False))
    assert await read(layer(), sender, invocation=Takes(body=False)) is None
    assert len(sender.left) == 1


async def test_a_body_at_the_limit_is_taken_and_one_above_is_not() -> None:
    assert await read(layer(), Sender(part(b"a" * LIMIT, more=False))) == b"a" * LIMIT
    for messages in (
        [part(b"a" * (LIMIT + 1), more=False)],
        [part(b"a" * (LIMIT + 1))],
        [part(b"a" * LIMIT), part(b"a", more=False)],
        [part(b"a" * LIMIT), part(b"a")],
    ):
        with pytest.raises(PayloadTooLarge):
            await read(layer(), Sender(*messages))


@pytest.mark.parametrize("length", [b"101", b"99999999999999999999999999"])
async def test_a_body_too_long_by_its_length_isnt_read_at_all(length: bytes) -> None:
    with pytest.raises(PayloadTooLarge):
        await read(layer(), Sender(), [(b"content-length", length)])


@pytest.mark.parametrize("messages", [[LEFT], [part(b"ab"), LEFT]])
async def test_a_body_that_ends_early_is_a_bad_request(messages: list[Message]) -> None:
    with pytest.raises(BadRequest):
        await read(layer(), Sender(*messages))


@pytest.mark.parametrize("messages", [[], [part(b"ab")]])
async def test_a_body_that_takes_too_long_is_given_up(messages: list[Message]) -> None:
    with pytest.raises(RequestTimeout) as raised:
        await read(layer(seconds=0.01), Sender(*messages))
    assert raised.value.headers == {"Connection": "close"}


async def test_a_deadline_behind_is_not_taken_for_a_slow_body() -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError

    body = Body(late, limit=LIMIT, seconds=60, room=LIMIT)
    with pytest.raises(TimeoutError):
        await read(body, Sender(part(b"abc", more=False)))


async def test_half_arrived_bodies_have_so_much_room_together() -> None:
    body = layer(room=2 * LIMIT)
    waiting = [asyncio.ensure_future(read(body, Sender(part(b"a" * LIMIT)))) for _ in range(2)]
    await turns()
    with pytest.raises(Overloaded):
        await read(body, Sender(part(b"a")))
    # One that has arrived whole needs none.
    assert await read(body, Sender(part(b"abc", more=False))) == b"abc"

    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await read(body, Sender(part(b"a"), part(b"b", more=False))) == b"ab"
