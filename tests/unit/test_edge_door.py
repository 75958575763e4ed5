"""Heads at the door: how large they may be, and how clear they must be about their framing."""

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from mercenary.edge.door import LARGEST_HEADER, LARGEST_TARGET, MOST_HEADER_LINES, Door
from mercenary.errors import BadRequest, HeaderTooLarge, NotFound, ProblemError, UriTooLong

Headers = list[tuple[bytes, bytes]]
HOST = (b"host", b"mercenary.example:8000")


async def outcome(headers: Headers, **scope: Any) -> type[ProblemError] | None:
    """What the door raises; None when the request is passed on."""
    passed: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope)

    async def receive() -> Message:
        raise AssertionError("the door doesn't read bodies")

    async def send(message: Message) -> None:
        raise AssertionError("the door doesn't answer")

    head = {"type": "http", "http_version": "1.1", "raw_path": b"/", "query_string": b""}
    try:
        await Door(app)(head | {"headers": headers} | scope, receive, send)
    except ProblemError as error:
        return type(error)
    return None if passed else ProblemError


async def test_a_target_up_to_the_limit_is_taken() -> None:
    longest = b"/" * (LARGEST_TARGET - 3)
    assert await outcome([HOST], raw_path=longest, query_string=b"aa") is None
    assert await outcome([HOST], raw_path=longest, query_string=b"aaa") is UriTooLong
    assert await outcome([HOST], raw_path=b"/" * LARGEST_TARGET) is None
    assert await outcome([HOST], raw_path=b"/" * (LARGEST_TARGET + 1)) is UriTooLong


async def test_an_encoded_slash_is_no_slash() -> None:
    for path in (b"/api%2Fv1", b"/api%2fv1/users", b"/%41%2F"):
        assert await outcome([HOST], raw_path=path) is NotFound
    assert await outcome([HOST], raw_path=b"/%41%252F") is None


async def test_a_header_up_to_the_limit_is_taken() -> None:
    taken = sum(map(len, HOST)) + 4
    longest = b"x" * (LARGEST_HEADER - taken - len(b"cookie") - 4)
    assert await outcome([HOST, (b"cookie", longest)]) is None
    assert await outcome([HOST, (b"cookie", longest + b"x")]) is HeaderTooLarge


async def test_a_header_has_so_many_lines() -> None:
    lines = [HOST] + [(b"x", b"")] * (MOST_HEADER_LINES - 1)
    assert await outcome(lines) is None
    assert await outcome([*lines, (b"x", b"")]) is HeaderTooLarge


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"a.b-c.example:80", b"127.0.0.1:8000", b"[::1]:8000", b"[fe80::1]", b"x:",
     b"xn--bcher-kva.example", b"%41.example"],
)  # fmt: skip
async def test_a_host_is_a_name_or_an_address(host: bytes) -> None:
    assert await outcome([(b"host", host)]) is None


@pytest.mark.parametrize(
    "host",
    [b"a/b", b"user@host", b"a b", b"a,b c", b"host:80:80", b"host:port", b"[::1", b"a\tb",
     b"a#b", b"a?b", b"\xc3\xa9.example", b"a\n"],
)  # fmt: skip
async def test_what_is_no_host_is_refused(host: bytes) -> None:
    assert await outcome([(b"host", host)]) is BadRequest


async def test_a_request_names_one_host() -> None:
    assert await outcome([]) is BadRequest
    assert await outcome([(b"host", b"")]) is BadRequest
    assert await outcome([HOST, HOST]) is BadRequest
    # As old clients do, and as granian passes their requests on.
    assert await outcome([], http_version="1") is None
    assert await outcome([(b"host", b"")], http_version="1.0") is None
    assert await outcome([HOST, HOST], http_version="1") is BadRequest


@pytest.mark.parametrize(
    "framing",
    [
        [(b"content-length", b"3")],
        [(b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"Chunked")],
    ],
)
async def test_a_body_is_framed_in_one_way(framing: Headers) -> None:
    assert await outcome([HOST, *framing]) is None


@pytest.mark.parametrize(
    "framing",
    [
        [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"3"), (b"content-length", b"3")],
        [(b"content-length", b"3"), (b"content-length", b"4")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"chunked, chunked")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"xchunked")],
        [(b"transfer-encoding", b"identity")],
        [(b"transfer-encoding", b"chunked;q=1")],
        [(b"transfer-encoding", b"")],
    ],
)
async def test_any_other_framing_is_refused(framing: Headers) -> None:
    assert await outcome([HOST, *framing]) is BadRequest


async def test_the_lifespan_passes() -> None:
    assert await outcome([], type="lifespan") is None
