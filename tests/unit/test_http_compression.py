"""Content codings: which one a caller takes, what is encoded, and where."""

import asyncio
import threading
import zlib
from collections.abc import Callable, Iterator

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mercenary.errors import Overloaded
from mercenary.http import compression
from mercenary.http.compression import (
    AS_IT_IS,
    LARGEST_ON_LOOP,
    SMALLEST,
    Accepted,
    compressible,
    encode,
    encoded,
    negotiate,
)

JSON = b"application/json"
DECODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"zstd": lambda body: zstandard.ZstdDecompressor().decompress(body),
    b"br": lambda body: bytes(brotli.decompress(body)),
    b"gzip": lambda body: zlib.decompress(body, 31),
}
every_coding = pytest.mark.parametrize("coding", DECODERS)


@pytest.fixture(autouse=True)
def threads_end_with_the_test() -> Iterator[None]:
    yield
    compression.close()


@pytest.mark.parametrize(
    ("value", "coding", "identity"),
    [
        (b"", None, True),
        (b"gzip", b"gzip", True),
        (b"br", b"br", True),
        (b"zstd", b"zstd", True),
        (b"GZip", b"gzip", True),
        (b"x-gzip", b"gzip", True),
        (b"deflate", None, True),
        (b"identity", None, True),
        # What browsers and tools send.
        (b"gzip, deflate, br, zstd", b"zstd", True),
        (b"gzip, deflate, br", b"br", True),
        (b"gzip, deflate", b"gzip", True),
        # The highest weight wins, of equal ones our preference.
        (b"gzip;q=1.0, zstd;q=0.5", b"gzip", True),
        (b"gzip;q=0.8, br;q=0.9, zstd;q=0.8", b"br", True),
        (b"gzip;q=0.5, br;q=0.5", b"br", True),
        (b" gzip ; q=0.5 ,\tbr ; Q=0.7 ", b"br", True),
        (b"zstd;q=0, gzip;q=0.001", b"gzip", True),
        # Any other one.
        (b"*", b"zstd", True),
        (b"zstd;q=0, *", b"br", True),
        (b"gzip, *;q=0.5", b"gzip", True),
        (b"*;q=0.2, identity;q=0.5", None, True),
        # No coding at all, preferred or excluded.
        (b"gzip;q=0.5, identity", None, True),
        (b"gzip;q=0.5, identity;q=0.5", b"gzip", True),
        (b"gzip;q=0", None, True),
        (b"identity;q=0", None, False),
        (b"*;q=0", None, False),
        (b"identity;q=0, gzip", b"gzip", False),
        (b"gzip, *;q=0", b"gzip", False),
        (b"*;q=0, identity;q=0.1", None, True),
        (b"deflate, identity;q=0.0", None, False),
        # What can't be read counts for nothing.
        (b"gzip;q=much", None, True),
        (b"gzip;q=2", None, True),
        (b"gzip;q=-1", None, True),
        (b"gzip;q=nan", None, True),
        (b"gzip;level=9", None, True),
        (b"identity;q=none", None, True),
        (b",, gzip,;q=1,=,;;", b"gzip", True),
        (b"\xff\x00;q=\xff, br", b"br", True),
    ],
)
def test_the_header_says_what_is_accepted(
    value: bytes, coding: bytes | None, identity: bool
) -> None:
    assert negotiate(value) == Accepted(coding, identity)


@given(st.binary(max_size=200))
def test_no_header_breaks_the_negotiation(value: bytes) -> None:
    accepted = negotiate(value)
    assert accepted.coding in {None, *DECODERS}


@every_coding
@given(body=st.binary(max_size=5000))
def test_what_was_encoded_can_be_read(coding: bytes, body: bytes) -> None:
    assert DECODERS[coding](encode(coding, body)) == body


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (b"application/json", True),
        (b"application/problem+json", True),
        (b"text/html; charset=utf-8", True),
        (b"Text/JavaScript; charset=utf-8", True),
        (b"image/svg+xml", True),
        (b"image/png", False),
        (b"font/woff2", False),
        (b"application/zip", False),
        (b"application/octet-stream", False),
        (b"", False),
    ],
)
def test_what_is_compressed_already_is_known_by_its_type(media_type: bytes, expected: bool) -> None:
    assert compressible(media_type) is expected


@every_coding
@pytest.mark.parametrize("size", [SMALLEST, LARGEST_ON_LOOP, LARGEST_ON_LOOP + 1])
async def test_a_body_is_encoded_from_the_smallest_size_on(coding: bytes, size: int) -> None:
    body = b"a" * size
    applied, sent = await encoded(Accepted(coding, identity=True), JSON, body)
    assert applied == coding
    assert len(sent) < size
    assert DECODERS[coding](sent) == body


@pytest.mark.parametrize(
    ("accepted", "media_type", "size"),
    [
        (AS_IT_IS, JSON, SMALLEST),
        (Accepted(b"br", identity=True), JSON, SMALLEST - 1),
        (Accepted(b"br", identity=True), b"image/png", SMALLEST),
        (Accepted(b"br", identity=False), JSON, 0),
    ],
)
async def test_other_bodies_go_as_they_are(
    accepted: Accepted, media_type: bytes, size: int
) -> None:
    body = b"a" * size
    assert await encoded(accepted, media_type, body) == (None, body)


@pytest.mark.parametrize("media_type", [JSON, b"image/png"])
async def test_who_excludes_identity_gets_even_small_bodies_encoded(media_type: bytes) -> None:
    coding, sent = await encoded(Accepted(b"gzip", identity=False), media_type, b"small")
    assert coding == b"gzip"
    assert DECODERS[b"gzip"](sent) == b"small"


async def test_large_bodies_are_encoded_off_the_loop_until_too_many_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, threads = threading.Event(), set()

    def held(body: bytes) -> bytes:
        threads.add(threading.current_thread())
        assert gate.wait(5)
        return body[:1]

    monkeypatch.setitem(compression._ENCODERS, b"gzip", held)
    large = b"a" * (LARGEST_ON_LOOP + 1)
    wanting = Accepted(b"gzip", identity=True)
    asked = [asyncio.ensure_future(encoded(wanting, JSON, large)) for _ in range(17)]
    await asyncio.sleep(0)  # each has had its turn

    # The one too many goes as it is, or is refused where the caller excludes that.
    assert await encoded(wanting, JSON, large) == (None, large)
    with pytest.raises(Overloaded):
        await encoded(Accepted(b"gzip", identity=False), JSON, large)

    gate.set()
    assert await asyncio.gather(*asked) == [(b"gzip", b"a")] * 17
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    assert await encoded(wanting, JSON, large) == (b"gzip", b"a")
