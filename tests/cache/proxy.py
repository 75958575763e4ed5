"""A way to Valkey that goes wrong in all the ways that a network does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from mercenary.local.ports import hold_port

HOST: Final = "127.0.0.1"
Spoil = Callable[[bytes], Awaitable[bytes | None]]
"""What becomes of a reply's bytes; None cuts the connection."""


async def as_it_is(reply: bytes) -> bytes | None:
    """Hand a reply on."""
    return reply


async def slow(reply: bytes) -> bytes | None:
    """Hand it on 50 ms late."""
    await asyncio.sleep(0.05)
    return reply


class Proxy:
    """Listens on a port and hands everything on to a Unix socket, and back through `spoil`."""

    def __init__(self, socket: Path, port: int) -> None:
        self.spoil: Spoil = as_it_is
        self.url = f"redis://{HOST}:{port}/0"
        self._socket = socket
        self._port = port
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self._port)

    async def close(self) -> None:
        """Refuse whoever comes, and cut whoever is there."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # who was let in as it closed
            writer.close()
            return
        task = asyncio.create_task(self._hand_on(reader, writer), name="proxy")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        task.add_done_callback(lambda _: writer.close())  # also where it never began

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_unix_connection(str(self._socket))

        async def ask() -> None:
            with suppress(ConnectionError):
                while part := await reader.read(1 << 16):
                    onward.write(part)
            onward.close()

        asking = asyncio.create_task(ask())
        try:
            with suppress(ConnectionError):
                while part := await there.read(1 << 16):
                    spoilt = await self.spoil(part)
                    if spoilt is None:
                        break
                    writer.write(spoilt)
        finally:
            asking.cancel()
            await asyncio.wait({asking})
            for each in (writer, onward):
                each.close()
                with suppress(OSError):
                    await each.wait_closed()


@asynccontextmanager
async def proxied(socket: Path) -> AsyncIterator[Proxy]:
    """A proxy in front of the server behind a socket."""
    with hold_port(HOST, 0) as port:
        proxy = Proxy(socket, port)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
