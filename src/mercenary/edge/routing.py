"""Finds the endpoint early, since who may come in depends on what is asked for."""

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary.errors import ProblemError
from mercenary.http.router import Router


class Routing:
    """Keeps the endpoint in `scope["invocation"]`, with the path's values.

    Where there is none, the problem is kept instead, and raised by `Dispatch`: the layers between
    count and refuse a request for nothing like any other.
    """

    def __init__(self, app: ASGIApp, router: Router) -> None:
        self.app = app
        self.router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find the endpoint and pass the request on."""
        if scope["type"] == "http":
            try:
                found = self.router.resolve(scope["method"], scope["path"])
                scope["invocation"], scope["path_values"] = found
            except ProblemError as problem:
                scope["invocation"], scope["path_values"] = None, problem
        await self.app(scope, receive, send)
