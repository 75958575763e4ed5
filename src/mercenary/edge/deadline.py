"""The time that a request may take in all."""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary import sojourn
from mercenary.errors import DeadlineExceeded


class Deadline:
    """Gives up on a request after `seconds`; what its batch has begun is carried through.

    Whatever the request asks for knows the time by `sojourn.current()`, down to the database.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on for as long as it may take.

        Raises:
            DeadlineExceeded: it took longer.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        stay = sojourn.Sojourn(asyncio.get_running_loop().time() + self.seconds)
        sojourn.enter(stay)
        try:
            async with asyncio.timeout_at(stay.deadline) as limit:
                await self.app(scope, receive, send)
        except TimeoutError as error:
            if limit.expired():
                raise DeadlineExceeded(f"A request may take {self.seconds:g} seconds.") from error
            raise
