"""Who calls: a guest without credentials, otherwise whoever the access token names."""

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary.errors import Unauthorized
from mercenary.http.access import GUEST, Caller


class Identity:
    """Keeps the caller in `scope["caller"]`; `identify` is the sign-in feature's."""

    def __init__(self, app: ASGIApp, identify: Callable[[str], Awaitable[Caller]]) -> None:
        self.app = app
        self.identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out who calls and pass the request on.

        Raises:
            Unauthorized: credentials were given and aren't valid, also where none were needed.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        caller = GUEST
        for name, value in scope["headers"]:
            if name == b"authorization":
                scheme, _, token = value.decode("latin-1").partition(" ")
                if scheme.lower() != "bearer" or not token:
                    raise Unauthorized("Use Authorization: Bearer <access token>.")
                caller = await self.identify(token.strip())
                break
        scope["caller"] = caller
        await self.app(scope, receive, send)
