"""Lists: `limit`, signed cursors, and the envelope.

A cursor says where a page ended. It is signed and bound to the list, its filters and its sort, so
it can't be forged, guessed or carried over to another list (api.md, «Lists»).
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Meta
from starlette.types import Scope

from mercenary import settings
from mercenary.db.batches import ReadBatch
from mercenary.db.pages import PageAsk, PageQuery, Slice
from mercenary.errors import InvalidCursor
from mercenary.http.decoding import parse_query
from mercenary.http.endpoint import Page
from mercenary.http.wire import encode_hook
from mercenary.keys import derive

T = TypeVar("T")
_SIGNATURE_BYTES = 16


class ListQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The parameters of every list."""

    limit: Annotated[int, Meta(ge=1, le=100, description="Items on a page.")] = 20
    cursor: Annotated[
        str | None, Meta(description="The `next_cursor` of the page before this one.")
    ] = None


async def read_page(
    pages: ReadBatch[PageAsk, Slice[T]],
    query: PageQuery[T],
    *,
    parameters: ListQuery,
    sort: str,
    filters: Mapping[str, Any],
) -> Page[T]:
    """The page that the parameters name. Filters that are None don't count; a tuple is spread.

    Raises:
        InvalidCursor: the cursor isn't one of this list with these filters and this sort.
    """
    asked = tuple(sorted(_spread(filters)))
    scope = msgspec.json.encode([query.__name__, sort, asked], enc_hook=encode_hook)
    after = None
    if parameters.cursor is not None:
        after = _read_cursor(parameters.cursor, scope, query.sorts[sort].python)
    found = await pages(PageAsk(asked, sort, after, parameters.limit))
    if found is None:
        raise LookupError(f"{query.__name__} answered no page")
    cursor = None if found.last is None else _sign_cursor(found.last, scope)
    return Page(list(found.items), cursor)


def next_link(scope: Scope, cursor: str) -> bytes:
    """The `Link` header to the page after this one (RFC 8288)."""
    kept = [pair for pair in parse_query(scope["query_string"]) if pair[0] != "cursor"]
    target = f"{scope['path']}?{urlencode([*kept, ('cursor', cursor)])}"
    return f'<{target}>; rel="next"'.encode()


def _spread(filters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in filters.items():
        if isinstance(value, tuple):
            pairs += [(f"{name}__{number}", each) for number, each in enumerate(sorted(set(value)))]
        elif value is not None and value is not False:
            # A condition that takes no value is asked for by True.
            pairs.append((name, None if value is True else value))
    return pairs


def _sign_cursor(last: tuple[Any, int], scope: bytes) -> str:
    payload = msgspec.json.encode(last)
    return base64.urlsafe_b64encode(_signature(payload, scope) + payload).rstrip(b"=").decode()


def _read_cursor(cursor: str, scope: bytes, kind: Any) -> tuple[Any, int]:
    try:
        signed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise InvalidCursor from None
    signature, payload = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(payload, scope)):
        raise InvalidCursor("Use the next_cursor of a page with the same filters and sort.")
    return _end_decoder(kind).decode(payload)


@lru_cache(maxsize=16)
def _end_decoder(kind: Any) -> msgspec.json.Decoder[tuple[Any, int]]:
    return msgspec.json.Decoder(tuple[kind, int])


def _signature(payload: bytes, scope: bytes) -> bytes:
    key = derive(settings.get().secret_key, "cursor")
    # Both parts have a length of their own, so that no byte can move from one to the other.
    framed = b"%d:%b%b" % (len(payload), payload, scope)
    return blake2b(framed, key=key, digest_size=_SIGNATURE_BYTES).digest()
