"""What a request's head must be before anything looks at it: small, and clear about its framing.

The server in front (hyper, inside granian) refuses most of what RFC 9112 forbids; decision 17 has
the list. Here stands what it lets pass and what another server may.
"""

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary.errors import BadRequest, HeaderTooLarge, NotFound, ProblemError, UriTooLong

LARGEST_TARGET: Final = 8 * 1024
LARGEST_HEADER: Final = 16 * 1024
# What hyper takes at most, so that another server is no wider.
MOST_HEADER_LINES: Final = 100
_LINE_OVERHEAD: Final = 4  # a colon, a space, CR and LF
_FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})
# A host and perhaps a port (RFC 3986, section 3.2), an IPv6 address in brackets.
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?\Z")


class Door:
    """Refuses heads that are too large, and those that two readers might take for two requests."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge the head and pass the request on.

        Raises:
            UriTooLong, HeaderTooLarge: it is over a limit.
            NotFound: its path has an encoded slash, as none of ours has.
            BadRequest: its host or its body's framing isn't clear.
        """
        if scope["type"] == "http":
            path, query = scope["raw_path"], scope["query_string"]
            if len(path) + len(query) + bool(query) > LARGEST_TARGET:
                raise UriTooLong(f"Path and query may have {LARGEST_TARGET} bytes.")
            if b"%" in path and b"%2f" in path.lower():
                # Decoded, it would look like a slash, which it isn't (RFC 3986, section 2.2).
                raise NotFound
            headers = scope["headers"]
            if len(headers) > MOST_HEADER_LINES:
                raise HeaderTooLarge(f"A header may have {MOST_HEADER_LINES} lines.")
            size = 0
            framing: dict[bytes, list[bytes]] = {}
            for name, value in headers:
                size += len(name) + len(value) + _LINE_OVERHEAD
                if name in _FRAMING:
                    framing.setdefault(name, []).append(value)
            if size > LARGEST_HEADER:
                raise HeaderTooLarge(f"A header may have {LARGEST_HEADER} bytes.")
            _judge(framing, scope["http_version"])
        await self.app(scope, receive, send)


def _judge(framing: dict[bytes, list[bytes]], version: str) -> None:
    hosts = framing.get(b"host", ())
    # granian adds an empty one where none was sent, as HTTP/1.0 may.
    named = [host for host in hosts if host]
    if len(hosts) > 1 or not all(map(_HOST.match, named)) or (version == "1.1" and not named):
        raise _unclear("A request names its host, and just one.")
    if len(framing) == 1:
        return
    codings = framing.get(b"transfer-encoding", [])
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        raise _unclear("A body may be chunked, and in no other transfer coding.")
    if len(codings) + len(framing.get(b"content-length", ())) > 1:
        raise _unclear("A body has one Content-Length, or one Transfer-Encoding.")


def _unclear(detail: str) -> ProblemError:
    # Whatever else comes on this connection may be part of what wasn't understood.
    return BadRequest(detail, headers={"Connection": "close"})
