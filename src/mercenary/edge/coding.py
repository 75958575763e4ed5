"""Which content coding the answer may have."""

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary.errors import NotAcceptable
from mercenary.http.compression import negotiate


class Coding:
    """Keeps what the caller takes in `scope["accepted"]`; `respond` encodes by it.

    The answer is encoded there, since only there it is known whole. It is refused here, before
    anything is done, to callers who take it in no form at all.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read Accept-Encoding and pass the request on.

        Raises:
            NotAcceptable: neither a coding of ours nor none at all is accepted.
        """
        if scope["type"] == "http":
            given = [value for name, value in scope["headers"] if name == b"accept-encoding"]
            if given:
                accepted = negotiate(given[0] if len(given) == 1 else b",".join(given))
                if accepted.coding is None and not accepted.identity:
                    raise NotAcceptable("Answers are encoded by zstd, br, gzip, or not at all.")
                scope["accepted"] = accepted
        await self.app(scope, receive, send)
