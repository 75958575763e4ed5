"""The last layer: calls the endpoint that `Routing` found."""

from starlette.types import Receive, Scope, Send


class Dispatch:
    """Calls the endpoint that the request names."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or raise the problem that says why there is nothing to call."""
        del receive  # `Body` has read what there was
        invocation, values = scope["invocation"], scope["path_values"]
        if invocation is None:
            raise values
        await invocation(scope, send, values)
