"""Senders and readers who take their time: each is let go of, and nobody waits for them."""

import contextlib
import select
import socket
import time

import pytest

from tests.door.raw import HOST, PATIENCE, Door, parsed, post, read_to_end, request
from tests.factories import Person, post_project
from tests.faults.conftest import eventually

HEAD = b"GET /livez HTTP/1.1\r\nHost: door\r\n"


def dripped(connection: socket.socket, drop: bytes) -> bytes:
    """What comes back while a drop is sent every tenth of a second, until the server hangs up."""
    received = b""
    deadline = time.monotonic() + PATIENCE
    while True:
        assert time.monotonic() < deadline, "the server is still waiting"
        if not select.select([connection], [], [], 0.1)[0]:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(drop)
            continue
        try:
            part = connection.recv(1 << 16)
        except ConnectionResetError:
            return received
        if not part:
            return received
        received += part


@pytest.mark.parametrize("drop", [b"X-Drop: x\r\n", b"x", b""])
def test_a_head_that_drips_is_given_up(door: Door, drop: bytes) -> None:
    with door.connect() as connection:
        connection.sendall(HEAD)
        assert dripped(connection, drop) == b""


@pytest.mark.parametrize("first", [b"", request("GET /livez HTTP/1.1")])
def test_an_idle_connection_is_closed(door: Door, first: bytes) -> None:
    with door.connect() as connection:
        connection.sendall(first)
        answers = parsed(read_to_end(connection)).answers
        assert [answer.status for answer in answers] == ([200] if first else [])


@pytest.mark.parametrize(
    ("framing", "drop"),
    [
        ("Content-Length: 1000", b" "),
        ("Content-Length: 1000", b""),
        ("Transfer-Encoding: chunked", b"1\r\n \r\n"),
        ("Transfer-Encoding: chunked", b"0"),
    ],
)
def test_a_body_that_drips_is_given_up(
    door: Door, owner: Person, framing: str, drop: bytes
) -> None:
    authorization = f"Authorization: {owner.headers['Authorization']}"
    with door.connect() as connection:
        connection.sendall(post("/api/v1/projects", authorization, framing))
        exchange = parsed(dripped(connection, drop))
    assert [answer.problem for answer in exchange.answers] == ["request-timeout"]
    assert exchange.first.status == 408
    assert exchange.first.headers["connection"] == "close"


async def test_a_reader_who_never_reads_is_given_up(door: Door, owner: Person) -> None:
    """Of an answer that the kernel doesn't take whole, 4 MiB by default, no more is kept."""
    for number in range(100):
        title = f"Work {number}"
        await post_project(owner, title=title, description="\N{HAMMER AND WRENCH}" * 20_000)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE)
        connection.connect((HOST, door.port))
        line = f"GET /api/v1/projects?limit=100&client_id={owner.id} HTTP/1.1"
        connection.sendall(request(line, name="request-unread"))
        eventually(lambda: "request-unread" in door.log, "the server has given up")
        received = read_to_end(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert len(body) < length


def test_hundreds_of_slow_senders_are_in_nobodys_way(door: Door, owner: Person) -> None:
    authorization = f"Authorization: {owner.headers['Authorization']}"
    half = post("/api/v1/projects", authorization, "Content-Length: 1000", body=b'{"title": "')
    with contextlib.ExitStack() as connections:
        for number in range(400):
            slow = connections.enter_context(door.connect())
            slow.sendall(half if number % 2 else HEAD)
        assert door.exchange(request("GET /api/v1/projects HTTP/1.1")).first.status == 200
