"""Sending a whole answer in two ASGI messages."""

from starlette.types import Scope, Send

_NO_BODY = (204, 304)


async def respond(
    scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """Send status, headers and body; to HEAD the length alone. Marks the scope as answered."""
    scope["answered"] = True
    if status not in _NO_BODY:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
