"""The time that a request may take in all."""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary import sojourn
from mercenary.errors import DeadlineExceeded


class Deadline:
    """Gives up on a request when its sojourn ends; what its batch has begun is carried through.

    Whatever the request asks for knows the time by the same sojourn, down to the database.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on for as long as it may take.

        Raises:
            DeadlineExceeded: it took longer.
        """
        stay = sojourn.current()
        if scope["type"] != "http" or stay is None:
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout_at(stay.deadline) as limit:
                await self.app(scope, receive, send)
        except TimeoutError as error:
            if limit.expired():
                raise DeadlineExceeded from error
            raise
