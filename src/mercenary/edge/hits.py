"""Answers at once what this worker keeps, in front of routing and of all that may wait.

A hit is looked up by the target's bytes as they came. `Fills` notes which key they mean once it has
read them like any endpoint does, so no spelling is ever interpreted here. What isn't at hand (the
answer, the caller's session) or needs a closer look is passed on to the layers behind. What needs
no work but only patience is waited for here, in front of admission: another's fill, and a share of
the rate limit.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary.cache import caches
from mercenary.cache.entries import Entry
from mercenary.cache.memory import Memory, Node
from mercenary.cache.tiers import Tiers
from mercenary.edge.rate_limit import RateLimit
from mercenary.http.access import GUEST, Caller
from mercenary.http.compression import AS_IT_IS, LARGEST_ON_LOOP
from mercenary.http.conditions import is_known
from mercenary.http.kept import HIT_MEMORY, Headers, Kept
from mercenary.http.sharing import Shared

READING: Final = frozenset({"GET", "HEAD"})
TOKEN: Final = b"x-consistency-token"
"""A place in PostgreSQL's log: on the answer to a write, and on reads that must know of it."""
LARGEST_TARGET: Final = 512
"""Bytes of a target that is remembered; longer ones find their answer by being read."""
_TARGET_BYTES: Final = 250


class Target(Node):
    """What the bytes of a target mean: the key of the answer, and whose answer is another."""

    __slots__ = ("apart", "means")

    def __init__(self, target: bytes, shared: Shared) -> None:
        super().__init__(target, _TARGET_BYTES + len(target))
        self.means = shared.want.key
        self.apart = shared.apart

    @classmethod
    def remember(cls, memory: Memory[Any], scope: Scope, shared: Shared) -> None:
        """Note what a request's target means."""
        target = target_of(scope)
        if len(target) <= LARGEST_TARGET and memory.get(target) is None:
            memory.put(cls(target, shared))


class Hits:
    """`recall` gives the caller that a token names, if that can be told without asking anybody.

    `tokens` is whether callers may say what an answer must know of (`edge/consistency.py`).
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: RateLimit,
        recall: Callable[[str], Caller | None],
        *,
        tokens: bool = False,
    ) -> None:
        self.app = app
        self.limits = limits
        self.recall = recall
        self.tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a hit, or pass the request on."""
        if scope["type"] == "http":
            found = self._answer(scope)
            if found is None and (fill := self._awaited(scope)) is not None:
                # Waiting costs nothing but patience, so it takes no place of those who work. Who
                # asks for what has just changed would fill them all otherwise.
                await asyncio.wait({fill}, timeout=caches.current().answers.deadline)
                found = self._answer(scope)
            if found is not None:
                caller, status, head, body = found
                await self.limits.count(scope, caller)
                headers = head + scope["answer_headers"]
                scope["answered"] = True
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        await self.app(scope, receive, send)

    def _awaited(self, scope: Scope) -> "asyncio.Task[Any] | None":
        """The fill that somebody else has begun and that this request's answer will come from."""
        if scope["method"] not in READING or (self.tokens and names_a_write(scope["headers"])):
            return None
        tiers = caches.current().answers
        target: Target | None = tiers.memory.get(target_of(scope))
        if target is None or demands_anew(scope["headers"]):
            return None
        return tiers.under_way(target.means, monotonic())

    def _answer(self, scope: Scope) -> tuple[Caller, int, Headers, bytes] | None:
        """Who gets what: status, head and body."""
        method = scope["method"]
        if method not in READING or (self.tokens and names_a_write(scope["headers"])):
            return None
        tiers = caches.current().answers
        target: Target | None = tiers.memory.get(target_of(scope))
        entry = None if target is None else tiers.peek(target.means, monotonic())
        if target is None or entry is None:
            return None
        asked = self._asked(scope["headers"], entry.value)
        if asked is None:
            return None
        caller, known = asked
        signed_in = caller.id is not None
        if signed_in and target.apart is not None and target.apart(caller.user_id):
            return None
        finished = self._finished(scope, tiers, entry, known=known, signed_in=signed_in)
        if finished is None:
            return None
        tiers.measures.hits_memory += 1
        head, body = finished
        return caller, 304 if known else 200, head, b"" if method == "HEAD" else body

    def _asked(self, headers: Headers, kept: Kept) -> tuple[Caller, bool] | None:
        """Who asks, and whether they have the answer already; None where others have to judge."""
        caller, known = GUEST, False
        for name, value in headers:
            if name == b"authorization":
                if caller is not GUEST:  # the first one counts, and not here
                    return None
                scheme, _, token = value.partition(b" ")
                recalled = self.recall(token.decode("latin-1")) if scheme == b"Bearer" else None
                if recalled is None:
                    return None
                caller = recalled
            elif name == b"if-none-match":
                known = known or is_known([(name, value)], kept.etag)
            elif name == b"accept":
                if b"*/*" not in value and b"json" not in value:
                    return None
            elif name == b"cache-control" and b"no-cache" in value.lower():
                return None
        return caller, known

    def _finished(
        self, scope: Scope, tiers: Tiers, entry: Entry[Kept], *, known: bool, signed_in: bool
    ) -> tuple[Headers, bytes] | None:
        """Head and bytes for a caller; None for what is too large to be sent or encoded here."""
        kept = entry.value
        if known:
            return [*kept.not_modified(signed_in=signed_in), HIT_MEMORY], b""
        if len(kept.body) > LARGEST_ON_LOOP:
            return None
        accepted = scope.get("accepted", AS_IT_IS)
        finished = kept.finished(accepted, signed_in=signed_in)
        if finished is None:
            added = kept.finish(accepted, signed_in=signed_in)
            if added:
                tiers.memory.resize(entry, entry.size + added)
            finished = kept.finished(accepted, signed_in=signed_in)
        return finished


def names_a_write(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the caller says what the answer must know of, which is judged by `Consistency`."""
    return any(name == TOKEN for name, _ in headers)


def target_of(scope: Scope) -> bytes:
    """The request's target as it came."""
    query: bytes = scope["query_string"]
    path: bytes = scope["raw_path"]
    return path + b"?" + query if query else path


def demands_anew(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the caller wants what the database says now (RFC 9111, section 5.2.1.4)."""
    return any(name == b"cache-control" and b"no-cache" in value.lower() for name, value in headers)
