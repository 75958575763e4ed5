"""Answers as they are kept: finished bytes, by content coding, with the headers that go with them.

A kept answer is what a guest gets. Somebody signed in gets the same bytes and the same tag, under
headers that say that no shared cache may have them.
"""

from typing import Final

import msgspec

from mercenary.cache.entries import Codec
from mercenary.http.compression import Accepted, coding_for, encode
from mercenary.http.shared_caching import SIGNED_IN

HIT_MEMORY: Final = (b"x-cache", b"hit-memory")
# What speaks of the body, which 304 has none of, and of the answer's own length.
_OF_BODY: Final = frozenset({b"content-type", b"content-length", b"content-encoding"})
_FOR_SHARED_CACHES: Final = frozenset({b"surrogate-key", b"cache-tag"})

# Of headers and of two finished heads: a tuple and two strings' own bytes for each of their lines.
_HEADS_BYTES: Final = 1_600

Headers = list[tuple[bytes, bytes]]


class Kept:
    """An answer of 200. `headers` are a guest's, without those of the coding and the length."""

    __slots__ = ("_made", "body", "etag", "headers", "media_type")

    def __init__(self, headers: Headers, body: bytes) -> None:
        self.headers = headers
        self.body = body
        own = dict(headers)
        self.etag = own[b"etag"]
        self.media_type = own[b"content-type"]
        # By coding and caller: whole heads, and bytes.
        self._made: dict[tuple[bytes | None, bool], tuple[Headers, bytes]] = {}

    def headers_for(self, *, signed_in: bool) -> Headers:
        """The headers that a guest gets, or somebody signed in."""
        if not signed_in:
            return self.headers
        return [
            (name, SIGNED_IN) if name == b"cache-control" else (name, value)
            for name, value in self.headers
            if name not in _FOR_SHARED_CACHES
        ]

    def not_modified(self, *, signed_in: bool) -> Headers:
        """The headers of 304 (RFC 9110, section 15.4.5)."""
        headers = self.headers_for(signed_in=signed_in)
        return [header for header in headers if header[0] not in _OF_BODY]

    def finished(self, accepted: Accepted, *, signed_in: bool) -> tuple[Headers, bytes] | None:
        """Head and bytes in the coding that is accepted, as far as they were made before."""
        return self._made.get((coding_for(accepted, self.media_type, self.body), signed_in))

    def finish(self, accepted: Accepted, *, signed_in: bool) -> int:
        """Make head and bytes in the coding that is accepted; how many bytes that adds."""
        coding = coding_for(accepted, self.media_type, self.body)
        other = self._made.get((coding, not signed_in))
        if other is not None:
            body, added = other[1], 0
        elif coding is None:
            body, added = self.body, 0
        else:
            body = encode(coding, self.body)
            added = len(body)
        head = [*self.headers_for(signed_in=signed_in), HIT_MEMORY]
        if coding is not None:
            head.append((b"content-encoding", coding))
        head.append((b"content-length", b"%d" % len(body)))
        self._made[coding, signed_in] = head, body
        return added


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Headers, bytes])

CODEC: Final[Codec[Kept]] = Codec(
    lambda kept: _encoder.encode((kept.headers, kept.body)),
    lambda stored: Kept(*_decoder.decode(stored)),
    overhead=_HEADS_BYTES,
)
