"""Sending a whole answer in two ASGI messages."""

from starlette.types import Scope, Send

_NO_BODY = (204, 304)


async def respond(
    scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """Send status, headers and body; to HEAD the length alone. Marks the scope as answered.

    `scope["answer_headers"]` holds what the edge's layers want on every answer; one that the
    answer sets itself is left as the answer has it, but for `Vary`, which adds up.
    """
    scope["answered"] = True
    own = {name for name, _ in headers}
    own.discard(b"vary")
    headers += [header for header in scope["answer_headers"] if header[0] not in own]
    if status not in _NO_BODY:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
