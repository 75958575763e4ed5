"""A name for each request: the caller's own where it is well-formed, otherwise one of ours."""

import itertools
import os
import re

from starlette.types import ASGIApp, Receive, Scope, Send

_WELL_FORMED = re.compile(rb"[A-Za-z0-9._~+/=-]{8,128}\Z")
HEADER = b"x-request-id"


class RequestId:
    """Keeps the id in `scope["request_id"]` and sends it with the answer.

    It is the outermost layer, so it also opens `scope["answer_headers"]`, which every answer gets.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # Unique by the process's random part; counting is 20 times cheaper than a random a request.
        self._process = os.urandom(8).hex()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name the request and pass it on."""
        if scope["type"] == "http":
            request_id = self._given(scope) or b"%b-%08x" % (
                self._process.encode(),
                next(self._numbers),
            )
            scope["request_id"] = request_id.decode()
            scope["answer_headers"] = [(HEADER, request_id)]
        await self.app(scope, receive, send)

    @staticmethod
    def _given(scope: Scope) -> bytes | None:
        for name, value in scope["headers"]:
            if name == HEADER and _WELL_FORMED.match(value):
                return bytes(value)
        return None
