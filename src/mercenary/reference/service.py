"""Makes the pages once a process and keeps them as bytes."""

from collections.abc import Sequence
from functools import cache

import msgspec

from mercenary import __version__
from mercenary.errors import NotFound
from mercenary.http.conditions import content_tag
from mercenary.http.endpoint import Content, Endpoint
from mercenary.http.openapi import document
from mercenary.http.problems import problem_page
from mercenary.reference.files import files, page

_HTML = "text/html; charset=utf-8"
# A new release brings new ones, and a page that mixes the two for a while would be confusing.
_FOR_MINUTES = ("Cache-Control", "public, max-age=300")
# Asked for each time, and sent only when it has changed.
_ASK_AGAIN = ("Cache-Control", "no-cache")
# Swagger UI sets styles on elements and draws its icons from data: addresses.
_POLICY = (
    "Content-Security-Policy",
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
)

_described: Sequence[Endpoint] = ()


def describe(endpoints: Sequence[Endpoint]) -> None:
    """Say which endpoints the document is about: all that the application serves."""
    global _described
    _described = endpoints
    openapi_document.cache_clear()


@cache
def openapi_document() -> Content:
    """The OpenAPI document."""
    body = msgspec.json.encode(document(_described, version=__version__))
    return Content(body, headers=(_ASK_AGAIN,), tag=content_tag(body))


@cache
def docs_page() -> Content:
    """The page that shows the document and tries requests."""
    body = page()
    return Content(body, _HTML, headers=(_ASK_AGAIN, _POLICY), tag=content_tag(body))


async def docs_asset(name: str) -> Content:
    """A script, style or image of the page.

    Raises:
        NotFound: the page has no such file, or has it in another version.
    """
    file = files().get(name)
    if file is None:
        raise NotFound
    return await file.content()


def problem(slug: str) -> Content:
    """The page about a type of problem.

    Raises:
        NotFound: there is no such type.
    """
    page = problem_page(slug)
    if page is None:
        raise NotFound
    return Content(page.encode(), _HTML, headers=(_FOR_MINUTES,))
