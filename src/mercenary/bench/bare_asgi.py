"""The yardstick of HTTP: a callable that answers fixed bytes and does nothing else.

What the server costs by itself, so the most that anything on it can reach. The bytes are those
that the product answered to the same requests; BENCH_ANSWERS names the folder that holds them.
"""

import os
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

ANSWERS: Final = "BENCH_ANSWERS"
# Answers by file name: what GET on the list of users, on that of projects and on one thing, and
# anything that writes is answered.
LIST, PROJECTS, ONE, WRITTEN = "list", "projects", "one", "written"


def create_app() -> ASGIApp:
    """The callable, with its answers read once."""
    folder = Path(os.environ[ANSWERS])
    bodies = {name: (folder / name).read_bytes() for name in (LIST, PROJECTS, ONE, WRITTEN)}
    headers = {
        name: [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        for name, body in bodies.items()
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["method"] == "GET":
            path = scope["path"]
            one = path[-1].isdigit()
            name, status = ONE if one else PROJECTS if path.endswith("/projects") else LIST, 200
        else:
            name, status = WRITTEN, 201
            while (await receive()).get("more_body"):
                pass
        await send({"type": "http.response.start", "status": status, "headers": headers[name]})
        await send({"type": "http.response.body", "body": bodies[name]})

    return app


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
