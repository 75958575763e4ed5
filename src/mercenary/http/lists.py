"""Lists: pages by number or by signed cursor, totals, and the envelope.

A cursor says where a page ended. It is signed and bound to the list, its filters and its sort, so
it can't be forged, guessed or carried over to another list (api.md, «Lists»).
"""

import base64
import binascii
import hmac
from asyncio import gather
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mercenary import settings
from mercenary.db.counts import VALUES, Facets
from mercenary.db.listing import Listing
from mercenary.db.pages import End, PageAsk
from mercenary.db.projection import Fields
from mercenary.errors import Invalid, InvalidCursor, PageTooDeep
from mercenary.http.endpoint import FacetedPage
from mercenary.http.fields import NameList
from mercenary.http.wire import encode_hook
from mercenary.keys import derive

T = TypeVar("T", bound=msgspec.Struct)
LAST_NUMBERED_ROW = 10_000
_SIGNATURE_BYTES = 16
_PLACES = ("cursor", "page")
_PLAIN = (int, str, Decimal)


class Include(NameList, known=("total",)):
    """What a list may tell besides its page."""

    __slots__ = ()


class FacetedInclude(Include, known=("total", "facets")):
    """What a list with facets may tell besides its page."""

    __slots__ = ()


class ListQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The parameters of every list."""

    limit: Annotated[int, Meta(ge=1, le=100, description="Items on a page.")] = 20
    cursor: Annotated[
        str | None,
        Meta(
            description="The `next_cursor` of the page before this one.",
            # For the document alone: what doesn't fit is no text of ours, and so no valid cursor.
            extra_json_schema={"minLength": 1, "pattern": "^[A-Za-z0-9_-]+$"},
        ),
    ] = None
    page: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="The number of the page, from 1; instead of a cursor, and only as far "
                f"as row {LAST_NUMBERED_ROW:,}.",
                extra_json_schema={"maximum": LAST_NUMBERED_ROW},
            ),
        ]
        | None
    ) = None
    include: Annotated[
        Include | None,
        Meta(description="`total` counts the rows of all pages, exactly, which takes its time."),
    ] = None


class FacetedQuery(ListQuery):
    """The parameters of every list whose rows are counted by their values."""

    include: Annotated[
        FacetedInclude | None,
        Meta(
            description="`total` counts the rows of all pages, and `facets` those with each value: "
            f"the {VALUES} of the most rows. Both are exact, which takes its time."
        ),
    ] = None


async def read_page(
    listing: Listing[T],
    *,
    parameters: ListQuery,
    sort: str,
    filters: Mapping[str, Any],
    fields: Fields,
) -> FacetedPage[T]:
    """The page that the parameters name. Filters that are None don't count; a tuple is spread.

    Raises:
        InvalidCursor: the cursor isn't one of this list with these filters and this sort.
        Invalid: both a cursor and a page's number are given.
        PageTooDeep: the numbered page ends behind row 10,000.
    """
    asked = tuple(sorted(_spread(filters)))
    query = listing.query
    scope = msgspec.json.encode([query.name, sort, asked])
    after, skipped = None, _skipped(parameters)
    if parameters.cursor is not None:
        after = _read_cursor(parameters.cursor, scope, query.sorts[sort].python)
    page = listing.page(PageAsk(asked, sort, after, parameters.limit, fields, skipped))
    total: int | UnsetType = UNSET
    facets: Facets | UnsetType = UNSET
    if parameters.include is None:
        found = await page
    else:
        found, total, facets = await gather(
            page,
            listing.total(asked) if "total" in parameters.include else _left_out(),
            listing.facets(asked) if "facets" in parameters.include else _left_out(),
        )
    if found is None:
        raise LookupError(f"{query.name} answered no page")
    cursor = None if found.end is None else _sign_cursor(found.end, scope)
    return FacetedPage(list(found.items), cursor, total, facets)


def next_link(path: str, query: msgspec.Struct, cursor: str) -> bytes:
    """The `Link` header to the page after this one (RFC 8288), whichever way this one was found.

    It is made of what the query means and not of how it was spelt, since the same answer is given
    to all that mean the same.
    """
    kept = [
        (name, text)
        for name, default in _defaults_of(type(query))
        if name not in _PLACES and (value := getattr(query, name)) != default
        for text in _texts_of(value)
    ]
    return f'<{path}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'.encode()


@lru_cache(maxsize=64)
def _defaults_of(query: type[msgspec.Struct]) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.default) for field in msgspec.structs.fields(query))


def _texts_of(value: Any) -> list[str]:
    """A parameter's values as they are written, in one order where they are a set."""
    if isinstance(value, NameList):
        return [",".join(value)]
    return [str(each) for each in sorted(set(value))] if isinstance(value, tuple) else [str(value)]


async def _left_out() -> UnsetType:
    return UNSET


def _skipped(parameters: ListQuery) -> int:
    """The rows before a page that is asked for by its number."""
    if parameters.page is None:
        return 0
    if parameters.cursor is not None:
        raise Invalid.at("?page", "Expected page or cursor, not both")
    if parameters.page * parameters.limit > LAST_NUMBERED_ROW:
        raise PageTooDeep(
            f"Pages by number end at row {LAST_NUMBERED_ROW:,}. Follow next_cursor: `cursor` has "
            "no end, and costs the same on every page."
        )
    return (parameters.page - 1) * parameters.limit


def _spread(filters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in filters.items():
        if isinstance(value, tuple):
            pairs += [(f"{name}__{number}", each) for number, each in enumerate(sorted(set(value)))]
        elif value is not None and value is not False:
            # A condition that takes no value is asked for by True.
            pairs.append((name, None if value is True else _plain(value)))
    return pairs


def _plain(value: Any) -> Any:
    """A value as every encoder writes it, since it becomes part of keys."""
    return value if type(value) in _PLAIN else encode_hook(value)


def _sign_cursor(end: End, scope: bytes) -> str:
    payload = msgspec.json.encode(end)
    return base64.urlsafe_b64encode(_signature(payload, scope) + payload).rstrip(b"=").decode()


def _read_cursor(cursor: str, scope: bytes, kind: Any) -> End:
    try:
        signed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise InvalidCursor from None
    signature, payload = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(payload, scope)):
        raise InvalidCursor("Use the next_cursor of a page with the same filters and sort.")
    try:
        return End(*_end_decoder(kind).decode(payload))
    except msgspec.MsgspecError:  # ours, from a version that wrote it in another form
        raise InvalidCursor from None


@lru_cache(maxsize=16)
def _end_decoder(kind: Any) -> msgspec.json.Decoder[tuple[Any, int, int | None]]:
    return msgspec.json.Decoder(tuple[kind, int, int | None])


def _signature(payload: bytes, scope: bytes) -> bytes:
    key = derive(settings.get().secret_key, "cursor")
    # Both parts have a length of their own, so that no byte can move from one to the other.
    framed = b"%d:%b%b" % (len(payload), payload, scope)
    return blake2b(framed, key=key, digest_size=_SIGNATURE_BYTES).digest()
