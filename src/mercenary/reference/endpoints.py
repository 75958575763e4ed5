"""The reference: for people a page, for tools the document, for whoever met a problem its page."""

from typing import Annotated

from mercenary.errors import NotFound
from mercenary.http.access import anyone
from mercenary.http.endpoint import UNLIMITED, Content, Sends, endpoint
from mercenary.reference import service


@endpoint("GET", "/openapi.json", access=anyone, rate=UNLIMITED, base="")
async def show_openapi() -> Annotated[Content, Sends(headers=("Cache-Control", "ETag"))]:
    """Give this document."""
    return service.openapi_document()


@endpoint("GET", "/docs", access=anyone, rate=UNLIMITED, base="")
async def show_docs() -> Annotated[Content, Sends("text/html", headers=("Cache-Control", "ETag"))]:
    """Show this document as a page on which each request can be tried. Needs no internet."""
    return service.docs_page()


@endpoint(
    "GET", "/docs/assets/{name}", access=anyone, rate=UNLIMITED, problems=(NotFound,), base=""
)
async def show_docs_asset(
    name: str,
) -> Annotated[
    Content,
    Sends("text/javascript", headers=("Cache-Control",)),
    Sends("text/css", headers=("Cache-Control",)),
    Sends("image/png", headers=("Cache-Control",)),
]:
    """Give a script, style or image of the page, by a name that stands for its content for ever."""
    return await service.docs_asset(name)


@endpoint("GET", "/problems/{slug}", access=anyone, rate=UNLIMITED, problems=(NotFound,), base="")
async def show_problem(
    slug: str,
) -> Annotated[Content, Sends("text/html", headers=("Cache-Control",))]:
    """Explain a type of problem: where a problem's `type` leads."""
    return service.problem(slug)
