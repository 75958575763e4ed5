"""Answers shared endpoints from the cache, and fills it: what `Hits` couldn't answer at once.

Only GET and HEAD of endpoints that are declared shared. What is kept is a guest's answer; admins,
and users who are answered differently, are passed on. Whoever is passed on gets more than a guest
would, so their session, which a kept word was enough for until here, is asked for again.

`X-Cache` tells what happened. Of other GETs it tells that they bypass the cache.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary import freshness
from mercenary.cache import caches
from mercenary.cache.tiers import Source, nothing_kept
from mercenary.edge.hits import READING, Target, demands_anew
from mercenary.errors import NotFound, ProblemError
from mercenary.http.access import Caller
from mercenary.http.conditions import is_known
from mercenary.http.endpoint import BASE_PATH
from mercenary.http.invocation import Invocation
from mercenary.http.kept import Kept
from mercenary.http.responses import respond
from mercenary.http.sharing import Shared

_X_CACHE: Final = {source: (b"x-cache", source.value.encode()) for source in Source}
_BYPASS: Final = _X_CACHE[Source.FORCED]


class Fills:
    """The last layer but one. `certify` asks whether a caller's session lives, of who knows."""

    def __init__(self, app: ASGIApp, certify: Callable[[Caller], Awaitable[None]]) -> None:
        self.app = app
        self.certify = certify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from the cache, or pass the request on."""
        if scope["type"] == "http" and scope["method"] in READING:
            invocation: Invocation | None = scope["invocation"]
            if invocation is not None and invocation.endpoint.base == BASE_PATH:
                if invocation.endpoint.cache.public:
                    if not scope["caller"].is_admin:
                        shared = invocation.shared(scope, scope["path_values"])
                        if freshness.current() is not None:
                            # Whoever is passed on knows what everybody on this host does.
                            moved = caches.current().clocks.moved(shared.want.slots)
                            freshness.require(moment=moved)
                        if await self._answer(scope, send, shared):
                            return
                    caches.current().answers.measures.apart += 1
                scope["answer_headers"].append(_BYPASS)
                if demands_anew(scope["headers"]):
                    with nothing_kept():  # also of what the answer is made of
                        await self.app(scope, receive, send)
                    return
        await self.app(scope, receive, send)

    async def _answer(self, scope: Scope, send: Send, shared: Shared) -> bool:
        """Send what is kept or filled; False where the caller is to get another answer."""
        caller: Caller = scope["caller"]
        if caller.id is not None and shared.apart is not None and shared.apart(caller.id):
            await self.certify(caller)
            return False
        tiers = caches.current().answers
        source = Source.FORCED if demands_anew(scope["headers"]) else Source.FILLED
        try:
            if source is Source.FORCED:
                kept = await tiers.force(shared.want, shared.fill)
            else:
                kept, source = await tiers.get(shared.want, shared.fill)
        except ProblemError as problem:
            # Only what isn't there for a guest may be there for somebody else.
            if caller.id is None or not isinstance(problem, NotFound):
                scope["answer_headers"].append(_X_CACHE[source])
                raise
            await self.certify(caller)
            return False
        Target.remember(tiers.memory, scope, shared)
        await self._send(scope, send, kept, source)
        return True

    async def _send(self, scope: Scope, send: Send, kept: Kept, source: Source) -> None:
        signed_in = scope["caller"].id is not None
        if is_known(scope["headers"], kept.etag):
            headers = [*kept.not_modified(signed_in=signed_in), _X_CACHE[source]]
            await respond(scope, send, 304, headers, b"")
        else:
            headers = [*kept.headers_for(signed_in=signed_in), _X_CACHE[source]]
            await respond(scope, send, 200, headers, kept.body)
