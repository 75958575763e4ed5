"""Sending a whole answer, in two ASGI messages unless it is large."""

from starlette.types import Scope, Send

from mercenary import sojourn
from mercenary.http.compression import AS_IT_IS, encoded

# Well within what the kernel takes for a connection, a few MiB, so that readers who do read are
# never waited for.
LARGEST_PART = 256 * 1024
_NO_BODY = (204, 304)
_VARY = (b"vary", b"Accept-Encoding")


async def respond(
    scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """Send status, headers and body; to HEAD the headers alone. Marks the scope as answered.

    `scope["answer_headers"]` holds what the edge's layers want on every answer; one that the
    answer sets itself is left as the answer has it, but for `Vary`, which adds up. The body is
    encoded as `scope["accepted"]` allows, unless it is already; that is missing where a request
    was refused before it was known.
    """
    own = dict(headers)
    if own.pop(b"vary", None) is None:
        headers.append(_VARY)
    headers += [header for header in scope["answer_headers"] if header[0] not in own]
    if status not in _NO_BODY:
        accepted = scope.get("accepted", AS_IT_IS)
        if accepted.coding is not None and b"content-encoding" not in own:
            coding, body = await encoded(accepted, own.get(b"content-type", b""), body)
            if coding is not None:
                headers.append((b"content-encoding", coding))
        headers.append((b"content-length", str(len(body)).encode()))
    scope["answered"] = True
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if scope["method"] == "HEAD":
        body = b""
    if len(body) > LARGEST_PART:
        with sojourn.elsewhere():
            body = await _send_all_but_the_last(body, send)
    await send({"type": "http.response.body", "body": body})


async def _send_all_but_the_last(body: bytes, send: Send) -> bytes:
    """Send a large body part by part, each when the one before was taken; gives the last part.

    The server would keep a body that it has whole for as long as a reader likes to take. Here the
    request's deadline ends it, and nobody else waits for its place meanwhile.
    """
    start = 0
    while len(body) - start > LARGEST_PART:
        part = body[start : start + LARGEST_PART]
        await send({"type": "http.response.body", "body": part, "more_body": True})
        start += LARGEST_PART
    return body[start:]
