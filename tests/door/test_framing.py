"""Where one request ends and the next begins: nobody smuggles a request past whoever is in front.

Each test sends a request that two readers might cut differently (RFC 9112, section 11.2), with
another hidden in it that would post a project in the owner's name.
"""

from collections.abc import Callable

import pytest

from tests.door.raw import HIDDEN, LAST, OUTER, Door, post, request
from tests.factories import Person

Hide = Callable[[bytes], bytes]
PATH = "/api/v1/projects"


def hidden(owner: Person) -> bytes:
    """What must never be executed: whole, and valid in every respect."""
    body = b'{"title": "Smuggled", "description": "Smuggled", "budget": 1, "currency": "USD"}'
    return post(
        PATH,
        f"Authorization: {owner.headers['Authorization']}",
        f"Content-Length: {len(body)}",
        body=body,
        name=HIDDEN,
    )


def framed(*headers: str, before: bytes = b"") -> Hide:
    """A request with these header lines, and the hidden one behind or in its body."""
    return lambda secret: post(PATH, *headers, body=before + secret)


async def nothing_was_smuggled(owner: Person) -> None:
    projects = (await owner.get(f"/projects?client_id={owner.id}")).json()["items"]
    assert projects == []


CHUNKED = "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
REFUSED: dict[str, Hide] = {
    "lengths that differ": framed("Content-Length: 0", "Content-Length: 300"),
    "lengths in a list": framed("Content-Length: 0, 0"),
    "a length with a plus": framed("Content-Length: +0"),
    "a length with a minus": framed("Content-Length: -0"),
    "a hexadecimal length": framed("Content-Length: 0x0"),
    "a length with an underscore": framed("Content-Length: 0_0"),
    "a length that overflows": framed("Content-Length: 18446744073709551616"),
    "the greatest length": framed("Content-Length: 18446744073709551615"),
    "no length": framed("Content-Length: "),
    "a space before the colon": framed("Content-Length : 0"),
    "a space before the line": framed(" Content-Length: 0"),
    "a tab before the colon": framed("Transfer-Encoding\t: chunked", before=END),
    "an unknown coding": framed("Transfer-Encoding: xchunked", before=END),
    "chunked in quotes": framed('Transfer-Encoding: "chunked"', before=END),
    "chunked after a control": framed("Transfer-Encoding: \x0bchunked", before=END),
    "chunked with a parameter": framed("Transfer-Encoding: chunked;a=b", before=END),
    "identity": framed("Transfer-Encoding: identity", "Content-Length: 0"),
    "chunked not last": framed("Transfer-Encoding: chunked, gzip", before=END),
    "chunked after gzip": framed("Transfer-Encoding: gzip, chunked", before=END),
    "chunked twice in a line": framed("Transfer-Encoding: chunked, chunked", before=END),
    "chunked twice": framed(CHUNKED, CHUNKED, before=END),
    "chunked and another": framed(CHUNKED, "Transfer-Encoding: x", before=END),
    "another and chunked": framed("Transfer-Encoding: x", CHUNKED, before=END),
    "a folded line": framed("Transfer-Encoding:\r\n chunked", before=END),
    "a folded value": framed("X-Note: a\r\n b", "Content-Length: 0"),
    "a bare CR in a value": framed("X-Note: a\rContent-Length: 300", "Content-Length: 0"),
    "a NUL in a value": framed("X-Note: a\0b", "Content-Length: 0"),
    "a control in a value": framed("X-Note: a\x01b", "Content-Length: 0"),
    "a NUL in a name": framed("X-No\0te: a", "Content-Length: 0"),
    "no name": framed(": a", "Content-Length: 0"),
    "no colon": framed("X-Note", "Content-Length: 0"),
    "chunks in HTTP/1.0": lambda secret: request(
        f"POST {PATH} HTTP/1.0", CHUNKED, body=END + secret
    ),
    "no host": lambda secret: post(PATH, "Content-Length: 0", body=secret, host=""),
    "two hosts": framed("Host: other", "Content-Length: 0"),
    "a host with a path": lambda secret: post(
        PATH, "Content-Length: 0", body=secret, host="Host: door/x"
    ),
    "a host with a user": lambda secret: post(
        PATH, "Content-Length: 0", body=secret, host="Host: me@door"
    ),
    "a chunk with a sign": framed(CHUNKED, before=b"+0\r\n\r\n"),
    "a chunk in 0x": framed(CHUNKED, before=b"0x0\r\n\r\n"),
    "a chunk that overflows": framed(CHUNKED, before=b"10000000000000000\r\n\r\n"),
    "a chunk after a space": framed(CHUNKED, before=b" 0\r\n\r\n"),
    "a chunk ended by LF": framed(CHUNKED, before=b"0\n\n"),
    "a chunk's note with LF": framed(CHUNKED, before=b"1;a\n\r\nx\r\n0\r\n\r\n"),
    "a chunk that is longer": framed(CHUNKED, before=b"1\r\nxy\r\n0\r\n\r\n"),
    "an unknown version": lambda secret: request(f"POST {PATH} HTTP/1.2", body=secret),
    "no version": lambda secret: b"GET /livez\r\n\r\n" + secret,
    "the preface of HTTP/2": lambda secret: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + secret,
    "a space in the target": lambda secret: request("GET /a b HTTP/1.1", body=secret),
    "bytes before the line": lambda secret: b"\0" + secret,
}


@pytest.mark.parametrize("name", REFUSED)
async def test_an_unclear_request_is_refused_and_the_connection_closed(
    door: Door, owner: Person, name: str
) -> None:
    exchange = door.exchange(REFUSED[name](hidden(owner)))
    assert [answer.status for answer in exchange.answers] in ([400], [431], [])
    assert HIDDEN not in exchange.ids
    await nothing_was_smuggled(owner)


ONE_MEANING: dict[str, tuple[Hide, bool]] = {
    # The bodies end where RFC 9112 has them end; true where the connection lives on.
    "the same length twice": (
        lambda secret: post(PATH, *[f"Content-Length: {len(secret)}"] * 2, body=secret),
        True,
    ),
    "a length that covers it": (
        lambda secret: post(PATH, f"Content-Length: {len(secret)}", body=secret),
        True,
    ),
    "a chunk that covers it": (
        lambda secret: post(PATH, CHUNKED, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(secret), secret)),
        True,
    ),
    "a chunk with a note": (
        lambda secret: post(
            PATH, CHUNKED, body=b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(secret), secret)
        ),
        True,
    ),
    "a body where none is taken": (
        lambda secret: request(
            "GET /livez HTTP/1.1", f"Content-Length: {len(secret)}", body=secret
        ),
        True,
    ),
    # RFC 9112, section 6.3: the chunks count, and the connection is closed after the answer.
    "chunks and then a length": (
        framed(CHUNKED, "Content-Length: 3", before=b"0\r\n\r\n"),
        False,
    ),
    "a length and then chunks": (
        framed("Content-Length: 3", CHUNKED, before=b"0\r\n\r\n"),
        False,
    ),
}


@pytest.mark.parametrize("name", ONE_MEANING)
async def test_a_clear_request_has_one_meaning(door: Door, owner: Person, name: str) -> None:
    hide, lives_on = ONE_MEANING[name]
    exchange = door.exchange(hide(hidden(owner)))
    assert exchange.ids == ([OUTER, LAST] if lives_on else [OUTER])
    await nothing_was_smuggled(owner)


async def test_trailers_are_no_headers(door: Door, owner: Person) -> None:
    trailers = f"0\r\nAuthorization: {owner.headers['Authorization']}\r\nX-Request-Id: x\r\n\r\n"
    exchange = door.exchange(post(PATH, CHUNKED, body=b"2\r\n{}\r\n" + trailers.encode()))
    assert [answer.status for answer in exchange.answers] == [401, 200]
    assert exchange.ids == [OUTER, LAST]


def test_lines_that_end_by_lf_alone_are_read_as_lines(door: Door) -> None:
    """RFC 9112, section 2.2 allows it, hyper does it, and nothing behind it can tell."""
    exchange = door.exchange(b"GET /livez HTTP/1.1\nHost: door\nX-Request-Id: request-outer\n\n")
    assert exchange.ids == [OUTER, LAST]


def test_requests_in_a_row_are_answered_in_turn(door: Door) -> None:
    """What pipelining is, so that the tests above would see a second request if there was one."""
    sent = b"".join(request("GET /livez HTTP/1.1", name=f"request-{n}") for n in range(5))
    assert door.exchange(sent).ids == [*(f"request-{n}" for n in range(5)), LAST]


async def test_the_hidden_request_would_be_executed_if_it_were_seen(
    door: Door, owner: Person
) -> None:
    exchange = door.exchange(hidden(owner))
    assert exchange.ids == [HIDDEN, LAST]
    assert exchange.first.status == 201
