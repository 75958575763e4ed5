"""An HTTP server that keeps what it is told and answers as a test has it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass
class Received:
    """One request, its headers' names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass
class Reply:
    """What is answered; `held` until a test lets it go."""

    status: int = 200
    body: bytes = b'{"success": true, "errors": []}'
    headers: dict[str, str] = field(default_factory=dict)
    held: asyncio.Event | None = None


class Receiver:
    """Answers with `replies` in their order, and then well."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.replies: list[Reply] = []
        self.address = ""
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def listening(cls) -> AsyncIterator["Receiver"]:
        """One on a port of its own."""
        receiver = cls()
        server = await asyncio.start_server(receiver._accept, "127.0.0.1", 0)
        receiver.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        receiver._server = server
        try:
            yield receiver
        finally:
            await receiver.close()

    async def close(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests.append(await _request(head.decode(), reader))
                reply = self.replies.pop(0) if self.replies else Reply()
                if reply.held is not None:
                    await reply.held.wait()
                fields = {"Content-Length": str(len(reply.body))} | reply.headers
                lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
                writer.write(f"HTTP/1.1 {reply.status} Status\r\n{lines}\r\n".encode() + reply.body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side has gone
        finally:
            writer.close()


async def _request(head: str, reader: asyncio.StreamReader) -> Received:
    line, *rest = head.split("\r\n")
    method, path, _ = line.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body)
