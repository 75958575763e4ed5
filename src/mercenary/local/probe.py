"""Whether a server answers, asked in its own protocol's first words, so that no client is needed.

Works for the embedded servers and for servers of the caller's own. Whatever goes wrong on the way
means that it doesn't answer; only addresses that make no sense raise.
"""

import socket
import struct
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

PATIENCE: Final = 2.0  # seconds
# The message that asks for TLS (PostgreSQL's protocol, 54.7): every server answers it by a letter.
SSL_REQUEST: Final = struct.pack("!II", 8, 80877103)


def postgres_answers(uri: str) -> bool:
    """Whether a PostgreSQL server takes connections at `uri`."""
    parts = urlsplit(uri)
    query = parse_qs(parts.query)
    host = unquote(parts.hostname or query.get("host", ["localhost"])[0])
    port = parts.port or int(query.get("port", ["5432"])[0])
    if host.startswith("/"):
        return _exchange(f"{host}/.s.PGSQL.{port}", SSL_REQUEST) in (b"N", b"S")
    return _exchange((host, port), SSL_REQUEST) in (b"N", b"S")


def valkey_answers(url: str) -> bool:
    """Whether a Valkey or Redis server is at `url`; one that wants a password first is, too."""
    parts = urlsplit(url)
    if parts.scheme in ("unix", "redis+socket"):
        return _exchange(unquote(parts.path), b"PING\r\n") in (b"+", b"-")
    address = (parts.hostname or "localhost", parts.port or 6379)
    if parts.scheme in ("rediss", "valkeys"):
        return _exchange(address, b"", 0) == b""  # TLS: that it takes the connection must do
    return _exchange(address, b"PING\r\n") in (b"+", b"-")


def http_answers(host: str, port: int, path: str = "/readyz") -> bool:
    """Whether GET `path` is answered by 200. A wildcard host is asked on loopback."""
    host = reachable_host(host)
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {bracketed(host)}:{port}\r\n"
        "User-Agent: mercenary\r\nConnection: close\r\n\r\n"
    )
    return (_exchange((host, port), request.encode(), 12) or b"").endswith(b" 200")


def reachable_host(host: str) -> str:
    """Where to reach a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _exchange(address: str | tuple[str, int], request: bytes, reply: int = 1) -> bytes | None:
    """Send and read `reply` bytes; None when that can't be done."""
    received = b""
    try:
        with _connected(address) as connection:
            connection.sendall(request)
            while len(received) < reply:
                more = connection.recv(reply - len(received))
                if not more:
                    return None
                received += more
    except OSError:
        return None
    return received


def _connected(address: str | tuple[str, int]) -> socket.socket:
    if not isinstance(address, str):
        return socket.create_connection(address, timeout=PATIENCE)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection
