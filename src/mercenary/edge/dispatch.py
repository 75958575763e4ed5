"""The last layer: from the path to the endpoint."""

from starlette.types import Receive, Scope, Send

from mercenary.http.router import Router


class Dispatch:
    """Calls the endpoint that the request names."""

    def __init__(self, router: Router) -> None:
        self.router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or raise the problem that says why not."""
        invocation, values = self.router.resolve(scope["method"], scope["path"])
        await invocation(scope, receive, send, values)
