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
# A year. Without includeSubDomains, since what else is served below the host isn't ours to say.
_OVER_TLS = (*_HEADERS, (b"strict-transport-security", b"max-age=31536000"))


class SecurityHeaders:
    """Adds them to every answer.

    `Strict-Transport-Security` only where the caller came over TLS, as the server or a trusted
    proxy says: over plain HTTP it means nothing (RFC 6797, section 7.2) and anybody could add it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the answer's headers."""
        if scope["type"] == "http":
            headers = _OVER_TLS if scope.get("scheme") == "https" else _HEADERS
            scope["answer_headers"].extend(headers)
        await self.app(scope, receive, send)
