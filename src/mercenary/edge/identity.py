"""Who calls: a guest without credentials, otherwise whoever the access token names."""

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary.errors import ProblemError, Unauthorized
from mercenary.http.access import GUEST, Caller
from mercenary.http.invocation import Invocation


class Identity:
    """Keeps the caller in `scope["caller"]`; `identify` is the sign-in feature's.

    It is told whether the request asks for what everybody may have, for which a kept word of the
    session will do.

    Whose credentials aren't good is a guest, and what is wrong with them stands in
    `scope["refusal"]`, also where none were needed: RateLimit counts the request, then raises it.
    """

    def __init__(self, app: ASGIApp, identify: Callable[[str, bool], Awaitable[Caller]]) -> None:
        self.app = app
        self.identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out who calls and pass the request on."""
        if scope["type"] == "http":
            scope["caller"], scope["refusal"] = GUEST, None
            for name, value in scope["headers"]:
                if name == b"authorization":
                    try:
                        scope["caller"] = await self.identify(token_in(value), _is_shared(scope))
                    except ProblemError as problem:
                        scope["refusal"] = problem
                    break
        await self.app(scope, receive, send)


def token_in(credentials: bytes) -> str:
    """The bearer token in a value of Authorization.

    Raises:
        Unauthorized: there is none.
    """
    scheme, _, token = credentials.decode("latin-1").partition(" ")
    if (scheme != "Bearer" and scheme.lower() != "bearer") or not token:
        raise Unauthorized("Use Authorization: Bearer <access token>.")
    return token.strip()


def _is_shared(scope: Scope) -> bool:
    """Whether the request asks for nothing but what a guest may have, too."""
    invocation: Invocation | None = scope["invocation"]
    return invocation is not None and invocation.endpoint.cache.public
