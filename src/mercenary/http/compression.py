"""Content codings: which one a caller takes, and bytes in it.

Both halves are plain functions, so that whatever keeps finished bytes can keep them by coding.
"""

import threading
import zlib
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Final, NamedTuple

import brotli
import zstandard

from mercenary.threads import Threads

SMALLEST: Final = 1024
# zstd and Brotli need about 0.1 ms for so much, gzip 0.4 ms: longer than the loop should stand.
LARGEST_ON_LOOP: Final = 64 * 1024
# One thread a worker, since workers are as many as cores. What would wait longer goes as it is.
_THREADS: Final = 1
_WAITING: Final = 16

# By µs and ratio for a page of 20 users; decision 16 has the figures and how to measure again.
_ZSTD_LEVEL: Final = 1
_BROTLI_QUALITY: Final = 1
_GZIP_LEVEL: Final = 3
_GZIP_FRAME: Final = 31  # zlib's wbits for a gzip header around the largest window


class _Compressors(threading.local):
    """A zstd compressor for each thread: making one costs 12 µs, and none may be shared."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)


_compressors = _Compressors()

# In our order of preference: zstd is both the fastest and the smallest of the three.
_ENCODERS: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    b"zstd": lambda body: _compressors.zstd.compress(body),
    b"br": lambda body: brotli.compress(body, quality=_BROTLI_QUALITY),
    b"gzip": lambda body: zlib.compress(body, _GZIP_LEVEL, _GZIP_FRAME),
}


class Accepted(NamedTuple):
    """What a caller takes: the best coding, if any, and whether bytes may go as they are."""

    coding: bytes | None
    identity: bool


AS_IT_IS: Final = Accepted(None, identity=True)


@lru_cache(maxsize=1024)
def negotiate(accept_encoding: bytes) -> Accepted:
    """What a value of Accept-Encoding allows (RFC 9110, section 12.5.3).

    The highest weight wins, and of equal ones our preference. Members that can't be read count
    for nothing. Without the field, take `AS_IT_IS`.
    """
    weights: dict[bytes, float] = {}
    for member in accept_encoding.lower().split(b","):
        name, _, parameters = member.partition(b";")
        weight = _weight(parameters)
        if weight is not None:
            name = name.strip()
            weights[b"gzip" if name == b"x-gzip" else name] = weight  # RFC 9110, section 8.4.1.3
    others = weights.get(b"*", 0.0)
    best = max(_ENCODERS, key=lambda coding: weights.get(coding, others))
    weight = weights.get(best, others)
    # Identity is acceptable unless it is excluded, and preferred only where that is said.
    identity = weights.get(b"identity", weights.get(b"*", 1.0)) > 0
    if weight == 0 or weights.get(b"identity", 0.0) > weight:
        return Accepted(None, identity)
    return Accepted(best, identity)


def _weight(parameters: bytes) -> float | None:
    """The weight of a member, 1 where none is given; None where it can't be read."""
    name, _, value = parameters.partition(b"=")
    if not name.strip():
        return 1.0
    try:
        weight = float(value)
    except ValueError:
        return None
    return weight if name.strip() == b"q" and 0 <= weight <= 1 else None


@lru_cache(maxsize=256)
def compressible(media_type: bytes) -> bool:
    """Whether bytes of a type get smaller: text does, images and archives are compressed already.

    Takes a whole Content-Type.
    """
    name = media_type.partition(b";")[0].strip().lower()
    return name.startswith(b"text/") or name.endswith(
        (b"/json", b"+json", b"/xml", b"+xml", b"/javascript", b"/wasm")
    )


def encode(coding: bytes, body: bytes) -> bytes:
    """The body in one of the codings that `negotiate` gives. Lets other threads run meanwhile."""
    return _ENCODERS[coding](body)


def coding_for(accepted: Accepted, media_type: bytes, body: bytes) -> bytes | None:
    """The coding to send a body in; none for small ones and other types, if none is accepted."""
    coding = accepted.coding
    if coding is None or not body:
        return None
    if accepted.identity and (len(body) < SMALLEST or not compressible(media_type)):
        return None
    return coding


async def encoded(accepted: Accepted, media_type: bytes, body: bytes) -> tuple[bytes | None, bytes]:
    """The coding that was applied, None for none, and the bytes to send.

    Large bodies are encoded in a thread; where too many wait for it, they go as they are.
    """
    coding = coding_for(accepted, media_type, body)
    if coding is None:
        return None, body
    if len(body) <= LARGEST_ON_LOOP:
        return coding, encode(coding, body)
    if accepted.identity and _threads().full:
        return None, body
    return coding, await _threads().run(lambda: encode(coding, body))


def close() -> None:
    """Let the thread go, if there is one. A later body starts another."""
    _threads().close()
    _threads.cache_clear()


@cache
def _threads() -> Threads:
    return Threads(
        "compression",
        count=_THREADS,
        waiting=_WAITING,
        refusal="Too many large answers are under way; without a coding there would be room.",
    )
