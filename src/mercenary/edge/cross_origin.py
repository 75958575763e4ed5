"""Which other origins' pages may call, and what OPTIONS answers (Fetch standard, CORS protocol).

The list of origins comes from the settings and is empty by default: then no answer has a header of
this protocol, and a browser keeps every other origin's page out.

There is no credentials mode. Callers prove who they are by a bearer token that a page has to hold
and send itself; a browser never adds it, as it would a cookie. So no page can borrow the session of
whoever looks at it, and there is nothing for `Access-Control-Allow-Credentials` to allow.
"""

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary.http.responses import respond
from mercenary.http.router import Router

_ORIGIN = b"origin"
_ALLOWED_HEADERS = b", ".join(
    (
        b"Authorization",
        b"Content-Type",
        b"Idempotency-Key",
        b"If-Match",
        b"If-None-Match",
        b"X-Consistency-Token",
        b"X-Request-Id",
    )
)
# What a page may read besides the headers that every page may (Fetch, «CORS-safelisted»).
_EXPOSED_HEADERS = b", ".join(
    (
        b"ETag",
        b"Link",
        b"Location",
        b"X-Request-Id",
        b"Retry-After",
        b"RateLimit",
        b"RateLimit-Policy",
        b"X-RateLimit-Limit",
        b"X-RateLimit-Remaining",
        b"X-RateLimit-Reset",
        b"Idempotency-Replayed",
        b"X-Cache",
        b"X-Consistency-Token",
    )
)
# Seconds for which a browser need not ask again; Chromium keeps no answer longer than two hours.
_MAX_AGE = b"7200"


class CrossOrigin:
    """Tells browsers which origins may read an answer, and answers OPTIONS by itself.

    It stands before whatever counts or identifies callers: a preflight carries no credentials, and
    a browser sends it in front of requests that are counted anyway.
    """

    def __init__(self, app: ASGIApp, router: Router, origins: Collection[str]) -> None:
        self.app = app
        self.router = router
        # Compared byte by byte: a browser sends an origin in one form only (RFC 6454, section 6.2).
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer OPTIONS; pass anything else on with the answer's headers.

        Raises:
            NotFound: OPTIONS was asked of a path that isn't there.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        origin = self._allowed(scope) if self._origins else None
        if scope["method"] == "OPTIONS":
            await self._answer_options(scope, send, origin)
            return
        if origin is not None:
            scope["answer_headers"].append((b"access-control-expose-headers", _EXPOSED_HEADERS))
        await self.app(scope, receive, send)

    def _allowed(self, scope: Scope) -> bytes | None:
        """The request's origin if it is on the list; the answer says that it depends on it."""
        given = [value for name, value in scope["headers"] if name == _ORIGIN]
        # Also without an origin, or a cache would give that answer to a page of an allowed one.
        scope["answer_headers"].append((b"vary", b"Origin"))
        if len(given) != 1 or given[0] not in self._origins:
            return None
        origin = bytes(given[0])
        scope["answer_headers"].append((b"access-control-allow-origin", origin))
        return origin

    async def _answer_options(self, scope: Scope, send: Send, origin: bytes | None) -> None:
        methods = ", ".join(self.router.methods(scope["path"])).encode()
        headers = [(b"allow", methods)]
        asked = any(name == b"access-control-request-method" for name, _ in scope["headers"])
        if origin is not None and asked:
            headers += [
                (b"access-control-allow-methods", methods),
                (b"access-control-allow-headers", _ALLOWED_HEADERS),
                (b"access-control-max-age", _MAX_AGE),
            ]
        await respond(scope, send, 204, headers, b"")
