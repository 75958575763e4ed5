"""A name for each request: the caller's own where it is well-formed, otherwise one of ours.

A caller that traces its calls (W3C Trace Context, `traceparent`) finds its trace in our logs, too.
"""

import itertools
import os
import re

from starlette.types import ASGIApp, Receive, Scope, Send

_WELL_FORMED = re.compile(rb"[A-Za-z0-9._~+/=-]{8,128}\Z")
HEADER = b"x-request-id"
# Version, trace, span, flags; a later version may have more behind them. All zeros is no trace.
_TRACE_PARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?\Z"
)


class RequestId:
    """Keeps the id in `scope["request_id"]` and sends it with the answer.

    `scope["trace_id"]` is the caller's, or None. It is the outermost layer, so it also opens
    `scope["answer_headers"]`, which every answer gets.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # Unique by the process's random part; counting is 20 times cheaper than a random a request.
        self._process = os.urandom(8).hex().encode()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name the request and pass it on."""
        if scope["type"] == "http":
            request_id = trace_id = None
            for name, value in scope["headers"]:
                if name == HEADER and _WELL_FORMED.match(value):
                    request_id = bytes(value)
                elif name == b"traceparent" and (parent := _TRACE_PARENT.match(value)):
                    trace_id = parent[1].decode()
            if request_id is None:
                request_id = self._process + b"-%08x" % next(self._numbers)
            scope["request_id"] = request_id.decode()
            scope["trace_id"] = trace_id
            scope["answer_headers"] = [(HEADER, request_id)]
        await self.app(scope, receive, send)
