"""Reading lists as a client does: a page, or all of them by following the cursor."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx


async def listed(client: httpx.AsyncClient, path: str, **parameters: Any) -> list[dict[str, Any]]:
    """The items of a list's first page, as a guest sees them."""
    answer = await client.get(f"/api/v1{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def walked(
    client: httpx.AsyncClient,
    path: str,
    *,
    each: Callable[[int], Awaitable[None]] | None = None,
    headers: Mapping[str, str] | None = None,
    **parameters: Any,
) -> list[dict[str, Any]]:
    """The items of all pages; `each` is called between two, with the number of those before it."""
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for page in range(1, 1000):
        answer = await client.get(f"/api/v1{path}", params=parameters | cursor, headers=headers)
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        if answer.json()["next_cursor"] is None:
            return items
        cursor = {"cursor": answer.json()["next_cursor"]}
        if each is not None:
            await each(page - 1)
    raise AssertionError(f"the walk through {path} never ends")
