"""Pages of other origins: which may call, what a preflight is told, what OPTIONS answers."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from mercenary import settings
from mercenary.app import ENDPOINTS, Application
from tests.api.test_routes import ROUTES, path_of, slug
from tests.conftest import Statements
from tests.factories import sign_up

ORIGIN = "https://app.example.com"
OTHER = "http://localhost:5173"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "PATCH"}
every_route = pytest.mark.parametrize("route", ROUTES)
# Each differs from an allowed origin by one trick.
FOREIGN = [
    "null",
    "*",
    "",
    "https://APP.example.com",
    "HTTPS://app.example.com",
    "http://app.example.com",
    "https://app.example.com:443",
    "https://app.example.com:8443",
    "https://app.example.com/",
    "https://app.example.com.",
    "https://app.example.com.evil.com",
    "https://app.example.comevil.com",
    "https://evil.com/https://app.example.com",
    "https://app.example.com@evil.com",
    "https://evil.app.example.com",
    "https://example.com",
    "https://appxexample.com",
    "https://app.example.com, https://evil.com",
    "https://app.example.com https://evil.com",
    "https://app.example.com%60.evil.com",
    "https://app.example.com\t",
    "//app.example.com",
    "app.example.com",
    "http://localhost",
    "http://localhost:51730",
    "http://127.0.0.1:5173",
]


@pytest.fixture(scope="module")
async def browser(application: Application, database_uri: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that lets two origins call, on the module's database."""
    options = replace(settings.get(), cors_origins=(ORIGIN, OTHER))
    transport = httpx.ASGITransport(Application(options, database_uri))
    async with httpx.AsyncClient(transport=transport, base_url="http://mercenary") as client:
        yield client


def cross_origin(answer: httpx.Response) -> dict[str, str]:
    """The headers of the CORS protocol in an answer."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-")}


def varies(answer: httpx.Response) -> set[str]:
    """What an answer says it depends on."""
    return {name.strip() for name in answer.headers.get("vary", "").split(",")}


@pytest.mark.parametrize("origin", [ORIGIN, OTHER])
async def test_a_page_of_an_allowed_origin_may_read_answers(
    browser: httpx.AsyncClient, origin: str
) -> None:
    for path in ("/api/v1/projects", "/api/v1/users/me", "/nowhere", "/livez", "/docs"):
        answer = await browser.get(path, headers={"Origin": origin})
        headers = cross_origin(answer)
        assert headers.pop("access-control-allow-origin") == origin
        exposed = headers.pop("access-control-expose-headers").lower().split(", ")
        assert {"etag", "link", "location", "retry-after", "x-request-id"} < set(exposed)
        assert headers == {}
        assert "Origin" in varies(answer)
    assert varies(await browser.get("/api/v1/skills")) >= {"Accept-Encoding", "Authorization"}


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_page_of_any_other_origin_is_told_nothing(
    browser: httpx.AsyncClient, origin: str
) -> None:
    for method in ("GET", "OPTIONS"):
        answer = await browser.request(
            method, "/api/v1/projects", headers=PREFLIGHT | {"Origin": origin}
        )
        assert answer.is_success
        assert cross_origin(answer) == {}
        assert "Origin" in varies(answer)


async def test_two_origins_are_no_origin(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/livez", headers=[("Origin", ORIGIN), ("Origin", OTHER)])
    assert cross_origin(answer) == {}


async def test_an_answer_to_nobodys_page_says_that_it_depends_on_the_origin(
    browser: httpx.AsyncClient,
) -> None:
    answer = await browser.get("/api/v1/projects")
    assert cross_origin(answer) == {}
    assert varies(answer) == {"Accept-Encoding", "Authorization", "Origin"}


@every_route
async def test_a_preflight_is_told_what_this_path_takes(
    browser: httpx.AsyncClient, statements: Statements, route: str
) -> None:
    with statements.recorded():
        answer = await browser.options(path_of(route), headers=PREFLIGHT)
    headers = cross_origin(answer)
    offered = {endpoint.method for endpoint in ENDPOINTS if endpoint.route == route}
    assert (answer.status_code, answer.content, statements) == (204, b"", [])
    assert headers.pop("access-control-allow-origin") == ORIGIN
    allowed = set(headers.pop("access-control-allow-methods").split(", "))
    assert allowed - {"HEAD", "OPTIONS"} == offered
    assert headers.pop("access-control-allow-headers") == (
        "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, "
        "X-Consistency-Token, X-Request-Id"
    )
    assert int(headers.pop("access-control-max-age")) > 0
    assert headers == {}
    assert "Origin" in varies(answer)


async def test_a_preflight_asks_nobody_who_calls(browser: httpx.AsyncClient) -> None:
    answer = await browser.options(
        "/api/v1/users/me", headers=PREFLIGHT | {"Authorization": "Bearer nonsense"}
    )
    assert answer.status_code == 204


async def test_a_preflight_of_nothing_is_not_found(browser: httpx.AsyncClient) -> None:
    answer = await browser.options("/api/v1/nothing", headers=PREFLIGHT)
    assert (answer.status_code, slug(answer)) == (404, "not-found")
    assert "access-control-allow-methods" not in answer.headers


async def test_credentials_are_never_allowed(browser: httpx.AsyncClient) -> None:
    """A bearer token is sent by the page itself; no browser adds it."""
    person = await sign_up(browser)
    for method in ("GET", "OPTIONS"):
        answer = await browser.request(
            method, "/api/v1/users/me", headers=person.headers | PREFLIGHT
        )
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_problem_can_be_read_by_the_page_that_met_it(browser: httpx.AsyncClient) -> None:
    refusals: list[tuple[str, str, Any]] = [
        ("POST", "/api/v1/auth/login", {"email": 1}),
        ("GET", "/api/v1/users/me", None),
        ("DELETE", "/api/v1/skills", None),
    ]
    for method, path, body in refusals:
        answer = await browser.request(method, path, json=body, headers={"Origin": ORIGIN})
        assert slug(answer)
        assert answer.headers["access-control-allow-origin"] == ORIGIN


@every_route
async def test_without_origins_in_the_settings_options_is_just_options(
    client: httpx.AsyncClient, route: str
) -> None:
    offered = {endpoint.method for endpoint in ENDPOINTS if endpoint.route == route}
    for headers in ({}, PREFLIGHT):
        answer = await client.options(path_of(route), headers=headers)
        assert (answer.status_code, answer.content) == (204, b"")
        allowed = set(answer.headers["allow"].split(", "))
        assert allowed - {"HEAD"} == offered | {"OPTIONS"}
        assert cross_origin(answer) == {}
        assert "Origin" not in varies(answer)


async def test_without_origins_in_the_settings_no_answer_speaks_of_them(
    client: httpx.AsyncClient,
) -> None:
    for path in ("/api/v1/projects", "/api/v1/users/me", "/nowhere"):
        answer = await client.get(path, headers={"Origin": ORIGIN})
        assert cross_origin(answer) == {}
        assert "Origin" not in varies(answer)
