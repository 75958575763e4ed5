"""Sizes at the door, on a real connection, and what becomes of it afterwards."""

import gzip

import pytest

from tests.door.raw import LAST, OUTER, Door, post, request
from tests.factories import Person

MIB = 1024 * 1024
PATH = "/api/v1/projects"


def authorized(owner: Person) -> str:
    return f"Authorization: {owner.headers['Authorization']}"


def test_a_long_target_is_explained(door: Door) -> None:
    exchange = door.exchange(request(f"GET /{'a' * 8191} HTTP/1.1"))
    assert [answer.status for answer in exchange.answers] == [404, 200]
    for target in ("/" + "a" * 8192, "/livez?" + "a" * 9000):
        exchange = door.exchange(request(f"GET {target} HTTP/1.1"))
        assert exchange.ids == [OUTER, LAST]
        assert (exchange.first.status, exchange.first.problem) == (414, "uri-too-long")


def test_a_large_header_is_explained(door: Door) -> None:
    assert door.exchange(request("GET /livez HTTP/1.1", "X: " + "a" * 16_000)).first.status == 200
    for lines in (["X: " + "a" * 16_400], [f"X-{n}: {'a' * 400}" for n in range(50)]):
        exchange = door.exchange(request("GET /livez HTTP/1.1", *lines))
        assert exchange.ids == [OUTER, LAST]
        assert (exchange.first.status, exchange.first.problem) == (431, "header-too-large")


@pytest.mark.parametrize(
    ("line", "header", "status"),
    [
        ("GET /" + "a" * 70_000 + " HTTP/1.1", "X: a", 414),
        ("GET /livez HTTP/1.1", "X: " + "a" * 300_000, 431),
        ("GET /livez HTTP/1.1", "\r\n".join(["X: a"] * 101), 431),
    ],
)
def test_far_too_large_heads_are_refused_by_the_server_in_front(
    door: Door, line: str, header: str, status: int
) -> None:
    exchange = door.exchange(request(line, header))
    assert [answer.status for answer in exchange.answers] == [status]
    assert exchange.first.headers["connection"] == "close"


def test_a_body_of_a_mebibyte_is_read(door: Door, owner: Person) -> None:
    body = b"{}".ljust(MIB)
    for framing in (
        (f"Content-Length: {MIB}", body),
        ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (MIB, body)),
    ):
        exchange = door.exchange(post(PATH, authorized(owner), framing[0], body=framing[1]))
        assert [answer.status for answer in exchange.answers] == [422, 200]


@pytest.mark.parametrize("expect", [[], ["Expect: 100-continue"]])
def test_a_larger_body_isnt_asked_for(door: Door, owner: Person, expect: list[str]) -> None:
    length = f"Content-Length: {MIB + 1}"
    exchange = door.exchange(post(PATH, authorized(owner), length, *expect), goodbye=False)
    assert (exchange.first.status, exchange.first.problem) == (413, "payload-too-large")
    assert exchange.continues == 0
    assert len(exchange.answers) == 1


def test_chunks_over_the_limit_are_refused(door: Door, owner: Person) -> None:
    chunks = b"8000\r\n%b\r\n" % (b" " * 0x8000) * 40
    sent = post(PATH, authorized(owner), "Transfer-Encoding: chunked", body=chunks)
    exchange = door.exchange(sent, goodbye=False)
    assert [answer.problem for answer in exchange.answers] == ["payload-too-large"]


def test_a_body_may_be_held_back_until_it_is_asked_for(door: Door, owner: Person) -> None:
    with door.connect() as connection:
        head = (authorized(owner), "Content-Length: 2", "Expect: 100-continue")
        connection.sendall(post(PATH, *head))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 422")


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "gzip, gzip", "x-unknown"])
def test_a_compressed_body_is_never_inflated(door: Door, owner: Person, coding: str) -> None:
    bomb = gzip.compress(b" " * 100 * MIB)
    sent = post(
        PATH,
        authorized(owner),
        f"Content-Encoding: {coding}",
        f"Content-Length: {len(bomb)}",
        body=bomb,
    )
    exchange = door.exchange(sent)
    assert exchange.ids == [OUTER, LAST]
    assert (exchange.first.status, exchange.first.problem) == (415, "unsupported-media-type")
    assert exchange.first.headers["accept-encoding"] == "identity"


def test_half_a_million_brackets_are_told_from_json(door: Door, owner: Person) -> None:
    body = b"[" * 500_000
    exchange = door.exchange(
        post(PATH, authorized(owner), f"Content-Length: {len(body)}", body=body)
    )
    assert exchange.ids == [OUTER, LAST]
    assert (exchange.first.status, exchange.first.problem) == (400, "bad-request")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /livez HTTP/1.1", 200),
        ("GET http://door/livez HTTP/1.1", 200),
        ("GET http://elsewhere/livez HTTP/1.1", 200),
        ("OPTIONS * HTTP/1.1", 404),
        ("GET * HTTP/1.1", 404),
        ("GET livez HTTP/1.1", 404),
        ("GET //livez HTTP/1.1", 404),
        ("GET /./livez HTTP/1.1", 404),
        ("GET /api/../livez HTTP/1.1", 404),
        ("GET /api/%2e%2e/livez HTTP/1.1", 404),
        ("GET /api%2fv1%2fprojects HTTP/1.1", 404),
        ("GET /livez%00 HTTP/1.1", 404),
        ("GET /livez/ HTTP/1.1", 404),
        ("GET /%ff%fe HTTP/1.1", 404),
        ("GET /%zz HTTP/1.1", 404),
        ("GET /api/v1/projects/%ff HTTP/1.1", 404),
        ("GET /livez?%ff HTTP/1.1", 400),
        ("GET /LIVEZ HTTP/1.1", 404),
        ("BREW /livez HTTP/1.1", 405),
    ],
)
def test_odd_targets_are_answered_and_never_break_anything(
    door: Door, line: str, status: int
) -> None:
    exchange = door.exchange(request(line))
    assert exchange.ids == [OUTER, LAST]
    assert exchange.first.status == status


def test_an_old_client_is_answered_in_its_own_version(door: Door) -> None:
    exchange = door.exchange(request("GET /livez HTTP/1.0", host=""), goodbye=False)
    assert [(answer.version, answer.status) for answer in exchange.answers] == [("1.0", 200)]


def test_a_tunnel_isnt_opened(door: Door) -> None:
    exchange = door.exchange(request("CONNECT door:80 HTTP/1.1"))
    assert [answer.status for answer in exchange.answers] == [404, 200]


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_no_other_protocol_is_changed_to(door: Door, protocol: str) -> None:
    exchange = door.exchange(
        request(
            "GET /livez HTTP/1.1",
            "Connection: Upgrade, HTTP2-Settings",
            f"Upgrade: {protocol}",
            "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        )
    )
    assert [answer.status for answer in exchange.answers] == [200, 200]
