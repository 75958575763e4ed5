"""Says no early: what can't be served in time is refused before it costs anything.

Early in the order, so that a storm of refusals leaves the processor to what is served: a refusal
is made of bytes that stand ready, and writes no line in the log.
"""

import asyncio
import random
from itertools import cycle
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary import sojourn
from mercenary.edge.admission import Admission
from mercenary.errors import Overloaded
from mercenary.http.endpoint import Criticality
from mercenary.http.invocation import Invocation
from mercenary.http.problems import MEDIA_TYPE, problem_body
from mercenary.http.responses import respond

# Seconds to stay away, dealt out evenly, so that those who were refused together don't come back
# together.
LONGEST_RETRY: Final = 5
_RETRIES: Final = 1_000


class Overload:
    """Lets in what `admission` has room for, and opens its sojourn of at most `deadline` seconds.

    Endpoints without a class, such as health, are never refused, and nobody's place is theirs.
    """

    def __init__(self, app: ASGIApp, admission: Admission, deadline: float) -> None:
        self.app = app
        self.admission = admission
        self.deadline = deadline
        self._before, self._after = problem_body(
            Overloaded("The server has more to do than it can do in time."), "\0"
        ).split(b"\\u0000")
        retries = random.choices(range(1, LONGEST_RETRY + 1), k=_RETRIES)  # noqa: S311 - no secret
        self._headers = cycle([_headers(seconds) for seconds in retries])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        criticality = _criticality(scope)
        admission = self.admission
        until = asyncio.get_running_loop().time() + self.deadline
        if criticality is None:
            sojourn.enter(sojourn.Sojourn(until))
            await self.app(scope, receive, send)
        elif admission.admit(criticality):
            stay = sojourn.Sojourn(until, step_out=admission.step_out, step_in=admission.step_in)
            sojourn.enter(stay)
            try:
                await self.app(scope, receive, send)
            finally:
                admission.leave(stay.queued)
        else:
            body = self._before + scope["request_id"].encode() + self._after
            await respond(scope, send, Overloaded.status, next(self._headers).copy(), body)


def _criticality(scope: Scope) -> Criticality | None:
    invocation: Invocation | None = scope["invocation"]
    if invocation is None:  # answered by 404 or 405
        return Criticality.READ
    return invocation.criticality(scope["query_string"])


def _headers(retry_after: int) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"cache-control", b"no-store"),
        (b"retry-after", str(retry_after).encode()),
    ]
