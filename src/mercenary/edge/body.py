"""The request's body, waited for before anything is begun that others might wait for."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mercenary.errors import BadRequest, Overloaded, PayloadTooLarge, ProblemError, RequestTimeout


class Body:
    """Reads the whole body where the endpoint takes one, and keeps it in `scope["body"]`.

    A slow sender costs a task and the bytes that have come, and holds no place of those who are
    being served. A body may have `limit` bytes and take `seconds` to arrive; all that have arrived
    in part may have `room` bytes together.
    """

    def __init__(self, app: ASGIApp, *, limit: int, seconds: float, room: int) -> None:
        self.app = app
        self.limit = limit
        self.seconds = seconds
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for the body and pass the request on.

        Raises:
            PayloadTooLarge, RequestTimeout: it is too large, or too slow.
            BadRequest: it ends before it is complete.
            Overloaded: there is no room for another one that comes in parts.
        """
        if scope["type"] == "http":
            invocation = scope["invocation"]
            if invocation is not None and invocation.takes_body:
                length = self._length(scope["headers"])
                try:
                    async with asyncio.timeout(self.seconds):
                        scope["body"] = await self._read(receive, length)
                except TimeoutError:
                    raise RequestTimeout(f"A body may take {self.seconds:g} seconds.") from None
        await self.app(scope, receive, send)

    def _length(self, headers: list[tuple[bytes, bytes]]) -> int | None:
        """What the sender says; too much is refused before it is sent."""
        for name, value in headers:
            if name == b"content-length" and value.isdigit():
                length = int(value)
                if length > self.limit:
                    raise self._too_large()
                return length
        return None

    async def _read(self, receive: Receive, length: int | None) -> bytes:
        body, more = _part(await receive())
        # Servers say that more may come until they have looked, and looking costs a turn.
        if more and len(body) != length:
            body = await self._read_on(body, receive, length)
        if len(body) > self.limit:
            raise self._too_large()
        return body

    async def _read_on(self, first: bytes, receive: Receive, length: int | None) -> bytes:
        parts, size, more = [first], len(first), True
        self._room -= size
        try:
            while more and size != length:
                if size > self.limit:
                    raise self._too_large()
                if self._room < 0:
                    raise Overloaded("Too many bodies are arriving at this moment.")
                part, more = _part(await receive())
                parts.append(part)
                size += len(part)
                self._room -= len(part)
        finally:
            self._room += size
        return b"".join(parts)

    def _too_large(self) -> ProblemError:
        return PayloadTooLarge(f"A body may have {self.limit} bytes.")


def _part(message: Message) -> tuple[bytes, bool]:
    """The bytes of a message, and whether more may come."""
    if message["type"] == "http.disconnect":
        raise BadRequest("The connection closed before the body was complete.")
    return message.get("body", b""), message.get("more_body", False)
