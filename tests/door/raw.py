"""HTTP as bytes on a socket: what no client library would send, and what comes back."""

import contextlib
import re
import socket
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mercenary.local.children import Child

HOST = "127.0.0.1"
PATIENCE = 30.0
OUTER, HIDDEN, LAST = "request-outer", "request-hidden", "request-last"
# Asked last on a connection that may still be open, so that its end can be waited for.
GOODBYE = (
    f"GET /livez HTTP/1.1\r\nHost: door\r\nX-Request-Id: {LAST}\r\nConnection: close\r\n\r\n"
).encode()


@dataclass
class Answer:
    """One answer, its header's names in lower case."""

    status: int
    version: str
    headers: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")

    @property
    def problem(self) -> str:
        """The problem's slug; empty where the server in front of us answered by itself."""
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        return str(msgspec.json.decode(self.body)["type"]).removeprefix("/problems/")


@dataclass
class Exchange:
    """All that came back on one connection until it was closed."""

    answers: list[Answer] = field(default_factory=list)
    continues: int = 0

    @property
    def first(self) -> Answer:
        return self.answers[0]

    @property
    def ids(self) -> list[str]:
        """Whom the answers are for; empty for those that the server in front of us gave."""
        return [answer.request_id for answer in self.answers]


@dataclass
class Door:
    """Where the server listens, and its process."""

    port: int
    child: Child

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=PATIENCE)

    @property
    def log(self) -> str:
        """All that the server has logged so far."""
        return self.child.log.read_text()

    def exchange(self, sent: bytes, *, goodbye: bool = True) -> Exchange:
        """Send these bytes, and a last request unless told otherwise, and read to the end."""
        with self.connect() as connection:
            # It may be refused while it is sent; then the answer is there to be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(sent + (GOODBYE if goodbye else b""))
            return parsed(read_to_end(connection))


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection, orderly or not."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 20):
            received += part
    return received


def parsed(received: bytes) -> Exchange:
    """The answers in these bytes."""
    exchange = Exchange()
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/(1\.[01]) (\d{3}) [^\r\n]*", line)
        assert found, line
        if found[2] == "100":
            exchange.continues += 1
            continue
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
        length = int(headers.get("content-length", "0"))
        body, received = received[:length], received[length:]
        exchange.answers.append(Answer(int(found[2]), found[1], headers, body))
    return exchange


def request(
    line: str, *headers: str, body: bytes = b"", name: str = OUTER, host: str = "Host: door"
) -> bytes:
    """A request's bytes; its header lines are sent as they are given."""
    lines = [line, *([host] if host else []), f"X-Request-Id: {name}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def post(path: str, *headers: str, body: bytes = b"", **options: Any) -> bytes:
    """A POST of JSON whose framing is the test's affair."""
    line = f"POST {path} HTTP/1.1"
    return request(line, "Content-Type: application/json", *headers, body=body, **options)
