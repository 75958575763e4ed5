"""The headers that tell a browser what not to do with an answer (OWASP secure headers)."""

from starlette.types import ASGIApp, Receive, Scope, Send

_HEADERS = (
    # A page that needs a policy of its own sets it itself, and `respond` leaves this one out.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


class SecurityHeaders:
    """Adds them to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the answer's headers."""
        if scope["type"] == "http":
            scope["answer_headers"].extend(_HEADERS)
        await self.app(scope, receive, send)
