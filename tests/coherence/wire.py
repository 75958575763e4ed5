"""One connection to one worker, and what goes over it: HTTP/1.1 with nothing hidden.

granian's workers accept connections of their own, so a connection stays with the worker that took
it. Which one that is tell the answers: the id of a request begins with a part of its worker's own.
"""

import asyncio
import gzip
import time
from collections.abc import Mapping
from typing import Any, Final, Self

import brotli
import msgspec
import zstandard

PATIENCE: Final = 12.0  # seconds; the product's own deadline is 10
_DECODERS: Final = {
    "": lambda body: body,
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}
# In place of a status: no whole answer came, so nobody knows what has happened.
UNANSWERED: Final = 0
# In place of a status: there was no connection, so nothing has happened.
UNSENT: Final = -1


class Answer(msgspec.Struct, frozen=True):
    """What came back, and when: the body without its coding, names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    begin: float
    end: float

    @property
    def is_telling(self) -> bool:
        """Whether it says what has happened, which no answer to a fault does."""
        return 0 < self.status < 500

    @property
    def worker(self) -> str:
        """Which process answered."""
        return self.headers.get("x-request-id", "").partition("-")[0]

    @property
    def cache(self) -> str:
        """What the cache had to say."""
        return self.headers.get("x-cache", "")

    @property
    def tag(self) -> str:
        """The entity tag, empty where there is none."""
        return self.headers.get("etag", "")

    def json(self) -> Any:
        """The body's content."""
        return msgspec.json.decode(self.body)


class Connection:
    """A connection that is opened by the first request and again after it was lost."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: Any = None
    ) -> Answer:
        """Send one request and read its answer, which has no status where none came."""
        content = b"" if body is None else msgspec.json.encode(body)
        lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines.append("Content-Type: application/json")
        if body is not None or method not in ("GET", "HEAD"):
            lines.append(f"Content-Length: {len(content)}")
        begin, sent = time.monotonic(), False
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = self._streams or await self._connect()
                begin, sent = time.monotonic(), True
                writer.write("\r\n".join([*lines, "", ""]).encode() + content)
                return await self._answer(reader, method, begin)
        except (OSError, EOFError):  # TimeoutError is an OSError
            self.close()
            return Answer(UNANSWERED if sent else UNSENT, {}, b"", begin, time.monotonic())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up; the next request may come to another worker."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        return self._streams

    async def _answer(self, reader: asyncio.StreamReader, method: str, begin: float) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ", 2)[1])
        fields = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        body = b""
        if method != "HEAD" and status not in (204, 304):
            body = await _body(reader, headers)
        end = time.monotonic()
        if headers.get("connection", "").lower() == "close":
            self.close()
        if body:
            body = _DECODERS[headers.get("content-encoding", "")](body)
        return Answer(status, headers, body, begin, end)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body
