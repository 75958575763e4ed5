"""Every error as a problem; of an unforeseen one the caller learns nothing but the request's id."""

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary.errors import ProblemError
from mercenary.http.problems import MEDIA_TYPE, problem_body
from mercenary.http.responses import respond

log = structlog.get_logger()


class Problems:
    """Turns what is raised below into an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer for whatever went wrong."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        except ProblemError as error:
            if error.status >= 500:
                cause = error.__cause__
                log.warning(
                    "request failed",
                    **_named(scope),
                    problem=error.slug,
                    cause=repr(cause) if cause else None,
                )
            await _answer(scope, send, error)
        except Exception:
            log.exception("unforeseen error", **_named(scope))
            await _answer(scope, send, ProblemError())


def _named(scope: Scope) -> dict[str, str | None]:
    return {name: scope[name] for name in ("request_id", "trace_id", "path")}


async def _answer(scope: Scope, send: Send, error: ProblemError) -> None:
    if scope.get("answered"):
        return  # the caller has its answer, or went away while it was sent
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    body = problem_body(error, scope["request_id"])
    await respond(scope, send, error.status, headers, body)
