"""The headers that every answer has, whatever became of the request."""

import httpx
import pytest
from msgspec.structs import replace

from mercenary import settings
from mercenary.app import ENDPOINTS, Application
from mercenary.http.endpoint import Endpoint
from tests.api.test_routes import name_of, path_of

ALWAYS = {
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "permissions-policy",
    "x-request-id",
}
POLICY = "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name_of)
async def test_every_endpoint_answers_with_all_of_them(
    endpoint: Endpoint, client: httpx.AsyncClient
) -> None:
    answer = await client.request(endpoint.method, path_of(endpoint.route))
    assert set(answer.headers) >= ALWAYS
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert policy == POLICY or endpoint.name == "show_docs"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("BREW", "/api/v1/projects", 405),
        ("OPTIONS", "/api/v1/projects", 204),
        ("HEAD", "/api/v1/projects", 200),
        ("POST", "/api/v1/auth/login", 415),
        ("GET", "/api/v1/projects?limit=0", 422),
    ],
)
async def test_refusals_have_them_too(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert set(answer.headers) >= ALWAYS
    assert all(len(answer.headers.get_list(name)) == 1 for name in ALWAYS)


async def test_browsers_are_told_to_stay_with_tls_where_they_came_by_it(
    application: Application, client: httpx.AsyncClient
) -> None:
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="https://mercenary") as over_tls:
        for path in ("/api/v1/projects", "/nowhere", "/livez"):
            answer = await over_tls.get(path)
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
            assert "strict-transport-security" not in (await client.get(path)).headers


@pytest.mark.parametrize(
    "header", ["X-Forwarded-Proto: https", "Forwarded: proto=https", "X-Forwarded-Ssl: on"]
)
async def test_no_stranger_says_that_it_was_tls(client: httpx.AsyncClient, header: str) -> None:
    name, _, value = header.partition(": ")
    answer = await client.get("/livez", headers={name: value})
    assert "strict-transport-security" not in answer.headers


async def test_a_trusted_proxy_says_that_it_was_tls(
    application: Application, database_uri: str
) -> None:
    options = replace(settings.get(), trusted_proxies=("10.0.0.0/8",))
    behind = Application(options, database_uri)
    for peer, told in (("10.1.2.3", True), ("192.0.2.1", False)):
        transport = httpx.ASGITransport(behind, client=(peer, 40_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://mercenary") as client:
            answer = await client.get("/livez", headers={"X-Forwarded-Proto": "https"})
            assert ("strict-transport-security" in answer.headers) == told
