"""Makes the pages once a process and keeps them as bytes."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import msgspec

from mercenary import __version__
from mercenary.errors import NotFound
from mercenary.http.endpoint import Content, Endpoint
from mercenary.http.openapi import document
from mercenary.http.problems import problem_page

_HTML = "text/html; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_STYLE = "text/css; charset=utf-8"
_IMAGE = "image/png"
_OWN = Path(__file__).parent / "assets"
# Swagger UI comes with the package swagger-ui-py. Nothing but these is ever served of either.
_SWAGGER = {
    "swagger-ui.css": _STYLE,
    "swagger-ui-bundle.js": _SCRIPT,
    "favicon-32x32.png": _IMAGE,
}
_OURS = {"docs.js": _SCRIPT, "docs.css": _STYLE}
# A new release brings new ones, and a page that mixes the two for a while would be confusing.
_FOR_MINUTES = ("Cache-Control", "public, max-age=300")
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
    return Content(body, headers=(_FOR_MINUTES,))


def docs_page() -> Content:
    """The page that shows the document and tries requests."""
    return Content(_read(_OWN / "docs.html"), _HTML, headers=(_FOR_MINUTES, _POLICY))


def docs_asset(name: str) -> Content:
    """A script, style or image of the page.

    Raises:
        NotFound: the page has no such file.
    """
    if name in _OURS:
        return Content(_read(_OWN / name), _OURS[name], headers=(_FOR_MINUTES,))
    if name in _SWAGGER:
        return Content(_read(_swagger() / name), _SWAGGER[name], headers=(_FOR_MINUTES,))
    raise NotFound


def problem(slug: str) -> Content:
    """The page about a type of problem.

    Raises:
        NotFound: there is no such type.
    """
    page = problem_page(slug)
    if page is None:
        raise NotFound
    return Content(page.encode(), _HTML, headers=(_FOR_MINUTES,))


@cache
def _read(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _swagger() -> Path:
    # Found without importing it: its code brings web frameworks' handlers, and only files count.
    spec = find_spec("swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("the package swagger-ui-py isn't installed")
    return Path(spec.submodule_search_locations[0]) / "static"
