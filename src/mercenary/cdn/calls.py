"""One call to a CDN: within its deadline, or told why not and when to try again."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from mercenary.cdn.targets import Target

_LONGEST_REASON: Final = 200
_LONGEST_WAIT: Final = 3600.0


class CallFailed(Exception):
    """The target may not have been told. `wait`: the seconds that it asked for, if it did."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


async def tell(
    client: httpx.AsyncClient, target: Target, tags: Sequence[str], *, seconds: float
) -> None:
    """Tell a target to forget these tags; at most `seconds` pass.

    Raises:
        CallFailed: it can't be reached, took too long, or refused.
    """
    call = target.call(tags)
    try:
        async with asyncio.timeout(seconds):
            answer = await client.request(
                call.method, call.url, headers=call.headers, json=call.body, timeout=None
            )
    except TimeoutError as error:
        raise CallFailed("it took too long") from error
    except httpx.HTTPError as error:
        # Its text may hold what was sent; its kind tells enough.
        raise CallFailed(type(error).__name__) from error
    if not answer.is_success:
        raise CallFailed(f"status {answer.status_code}", _wanted_wait(answer))
    refusal = target.refusal(answer)
    if refusal is not None:
        raise CallFailed(refusal[:_LONGEST_REASON])


def _wanted_wait(answer: httpx.Response) -> float | None:
    """The seconds that a refusal asks to wait (RFC 9110, section 10.2.3), at most an hour.

    Fastly says in a header of its own when its limit begins anew, in seconds since 1970.
    """
    given = answer.headers.get("retry-after", "").strip()
    limited = answer.status_code == httpx.codes.TOO_MANY_REQUESTS
    now = datetime.now(UTC)
    try:
        if given.isdecimal():
            wait = float(given)
        elif given:
            wait = (parsedate_to_datetime(given) - now).total_seconds()
        elif limited and "fastly-ratelimit-reset" in answer.headers:
            wait = float(answer.headers["fastly-ratelimit-reset"]) - now.timestamp()
        else:
            return None
    except (ValueError, TypeError):  # it can't be read, or has no zone
        return None
    return min(max(wait, 0.0), _LONGEST_WAIT)
