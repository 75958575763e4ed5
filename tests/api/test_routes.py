"""What holds for every route there is, walked one by one on the running application."""

from hashlib import sha256

import httpx
import pytest

from mercenary.app import ENDPOINTS, Application
from mercenary.errors import PROBLEMS, ProblemError
from mercenary.http import compression
from mercenary.http.access import Access
from mercenary.http.endpoint import BASE_PATH, Endpoint, Rate
from mercenary.reference.files import files
from tests.assets import SCRIPT, served_name
from tests.factories import Person, sign_up

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ROUTES = sorted({endpoint.route for endpoint in ENDPOINTS})
PARAMETERS = ("{id}", "{name}", "{slug}")
CLOSED_TO_CLIENTS = [
    endpoint for endpoint in ENDPOINTS if "client" not in (endpoint.access.roles or {"client"})
]


def name_of(endpoint: Endpoint) -> str:
    """What a test of an endpoint is called."""
    return endpoint.name


every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name_of)
every_get = pytest.mark.parametrize(
    "endpoint", [endpoint for endpoint in ENDPOINTS if endpoint.method == "GET"], ids=name_of
)
every_route = pytest.mark.parametrize("route", ROUTES)


@pytest.fixture(scope="module")
async def client_person(client: httpx.AsyncClient) -> Person:
    return await sign_up(client, "client")


def path_of(route: str, value: str = "4611686018427387904") -> str:
    """The route with a value for its parameter: by default an id that nothing has."""
    for parameter in PARAMETERS:
        route = route.replace(parameter, value)
    return route


def slug(answer: httpx.Response) -> str:
    """What a problem is called; it must be one that has a page."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    name = str(answer.json()["type"]).removeprefix("/problems/")
    assert name in {problem.slug for problem in PROBLEMS}
    return name


async def test_every_served_route_is_in_the_document(
    application: Application, client: httpx.AsyncClient
) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    documented = {
        (method.upper(), route) for route, operations in paths.items() for method in operations
    }
    served = {(endpoint.method, endpoint.route) for endpoint in application.router.endpoints}
    assert documented == served


@every_endpoint
def test_every_endpoint_declares_who_may_call(endpoint: Endpoint) -> None:
    assert isinstance(endpoint.access, Access)
    assert isinstance(endpoint.rate, Rate)
    assert endpoint.base in (BASE_PATH, "")


@every_endpoint
async def test_guests_are_kept_out_of_what_isnt_theirs(
    endpoint: Endpoint, client: httpx.AsyncClient
) -> None:
    answer = await client.request(endpoint.method, path_of(endpoint.route))
    if endpoint.access.guests:
        assert answer.status_code != 403
    else:
        assert (answer.status_code, slug(answer)) == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("endpoint", CLOSED_TO_CLIENTS, ids=name_of)
async def test_other_roles_are_kept_out(endpoint: Endpoint, client_person: Person) -> None:
    answer = await client_person.client.request(
        endpoint.method, path_of(endpoint.route), headers=client_person.headers
    )
    assert (answer.status_code, slug(answer)) == (403, "forbidden")


@every_endpoint
async def test_wrong_credentials_are_refused_everywhere(
    endpoint: Endpoint, client: httpx.AsyncClient
) -> None:
    for credentials in ("Bearer nonsense", "Basic YTpi", "Bearer", "Bearer a.b.c", ""):
        answer = await client.request(
            endpoint.method, path_of(endpoint.route), headers={"Authorization": credentials}
        )
        assert (answer.status_code, slug(answer)) == (401, "unauthorized"), credentials


@every_route
async def test_a_method_that_isnt_offered_is_405(route: str, client: httpx.AsyncClient) -> None:
    # Several templates may fit one path, such as /users/me and /users/{id}: look at this one's.
    offered = {endpoint.method for endpoint in ENDPOINTS if endpoint.route == route}
    # OPTIONS is answered everywhere, from Allow's own list (RFC 9110, section 9.3.7).
    for method in {*METHODS, "TRACE", "CONNECT", "PROPFIND"} - offered:
        answer = await client.request(method, path_of(route))
        assert (answer.status_code, slug(answer)) == (405, "method-not-allowed")
        allowed = set(answer.headers["allow"].split(", "))
        assert allowed - {"HEAD"} == offered | {"OPTIONS"}
        assert ("HEAD" in allowed) == ("GET" in offered)


@every_route
async def test_a_trailing_slash_is_another_path(route: str, client: httpx.AsyncClient) -> None:
    for path in (path_of(route) + "/", path_of(route) + "//", "/" + path_of(route)):
        answer = await client.get(f"http://mercenary{path}")
        assert (answer.status_code, slug(answer)) == (404, "not-found")


@pytest.mark.parametrize("route", [route for route in ROUTES if "{" in route])
async def test_what_no_id_can_be_is_not_found(route: str, client_person: Person) -> None:
    for endpoint in ENDPOINTS:
        if endpoint.route != route or endpoint in CLOSED_TO_CLIENTS:
            continue
        for value in ("0", "-1", "9223372036854775808", "abc", "%00", "%F0%9F%92%A9", "1" * 400):
            answer = await client_person.client.request(
                endpoint.method, path_of(route, value), headers=client_person.headers
            )
            assert (answer.status_code, slug(answer)) == (404, "not-found"), value


@every_get
async def test_unknown_parameters_are_named(endpoint: Endpoint, client_person: Person) -> None:
    path = path_of(endpoint.route) + "?zzz=1&yyy=2"
    answer = await client_person.client.get(path, headers=client_person.headers)
    assert (answer.status_code, slug(answer)) == (422, "invalid")
    assert {fault["pointer"] for fault in answer.json()["errors"]} == {"?zzz", "?yyy"}


@every_get
async def test_a_query_that_isnt_text_is_a_bad_request(
    endpoint: Endpoint, client_person: Person
) -> None:
    path = path_of(endpoint.route) + "?q=%FF"
    answer = await client_person.client.get(path, headers=client_person.headers)
    assert (answer.status_code, slug(answer)) == (400, "bad-request")


@every_get
async def test_head_says_what_get_would(endpoint: Endpoint, client_person: Person) -> None:
    value = "not-found" if "{slug}" in endpoint.route else SCRIPT
    path = path_of(endpoint.route) if "{id}" in endpoint.route else path_of(endpoint.route, value)
    get = await client_person.client.get(path, headers=client_person.headers)
    head = await client_person.client.head(path, headers=client_person.headers)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


async def test_the_docs_need_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "http" not in policy
    assert "http" not in page.text
    for name in files():
        assert f'"/docs/assets/{name}"' in page.text
    assert page.text.count("/docs/assets/") == len(files())


@pytest.mark.parametrize("name", files())
async def test_a_file_of_the_docs_may_be_kept_for_ever(
    client: httpx.AsyncClient, name: str
) -> None:
    """Its name says what is in it."""
    asset = await client.get(f"/docs/assets/{name}", headers={"Accept-Encoding": "identity"})
    assert asset.status_code == 200
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert asset.headers["x-content-type-options"] == "nosniff"
    assert sha256(asset.content).hexdigest().startswith(name.split(".")[-2])


@pytest.mark.parametrize("coding", ["zstd", "br", "gzip"])
async def test_a_file_of_the_docs_was_encoded_before(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    path = f"/docs/assets/{served_name('swagger-ui-bundle.js')}"
    whole = await client.get(path, headers={"Accept-Encoding": "identity"})
    encoded: list[bytes] = []
    monkeypatch.setattr(compression, "encode", lambda coding, body: encoded.append(coding))
    packed = await client.get(path, headers={"Accept-Encoding": coding})
    assert packed.headers["content-encoding"] == coding
    assert encoded == []
    assert int(packed.headers["content-length"]) < len(whole.content) / 3
    assert packed.content == whole.content
    assert "content-encoding" not in whole.headers


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
async def test_the_docs_are_asked_for_again_and_sent_when_they_changed(
    client: httpx.AsyncClient, path: str
) -> None:
    first = await client.get(path)
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for name in ("etag", "cache-control", "vary"):
        assert again.headers[name] == first.headers[name]
    changed = await client.get(path, headers={"If-None-Match": '"of-another-release"'})
    assert changed.content == first.content


@pytest.mark.parametrize(
    "name",
    ["swagger-editor-bundle.js", "index.css", "docs.html", "LICENSE", "%2e%2e", "..%2fservice.py",
     "..%2F..%2Fservice.py", "docs.js", "docs.0123456789abcdef.js", f"{SCRIPT}%00",
     SCRIPT.upper(), "%2Fetc%2Fpasswd"],
)  # fmt: skip
async def test_no_other_file_is_served(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(
        httpx.URL("http://mercenary", raw_path=f"/docs/assets/{name}".encode())
    )
    assert (answer.status_code, slug(answer)) == (404, "not-found")


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.slug)
async def test_every_problems_type_opens_as_a_page(
    client: httpx.AsyncClient, problem: type[ProblemError]
) -> None:
    answer = await client.get(f"/problems/{problem.slug}")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert str(problem.status) in answer.text


async def test_an_unknown_problem_has_no_page(client: httpx.AsyncClient) -> None:
    assert slug(await client.get("/problems/%3Cscript%3E")) == "not-found"
