"""From a path to its endpoint."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mercenary.errors import MethodNotAllowed, NotFound
from mercenary.http.access import anyone
from mercenary.http.endpoint import Content, Endpoint, Method, endpoint
from mercenary.http.router import Router


def declared(method: Method, path: str, *, base: str = "") -> Endpoint:
    """An endpoint that takes whatever its path names."""

    async def handler() -> Content:
        return Content(path.encode())

    async def handler_of_id(id: int) -> Content:
        return Content(path.encode())

    chosen = handler_of_id if "{id}" in path else handler
    return endpoint(method, path, access=anyone, base=base)(chosen)


PATHS: list[tuple[Method, str]] = [
    ("GET", "/users"),
    ("GET", "/users/me"),
    ("PATCH", "/users/me"),
    ("GET", "/users/{id}"),
    ("POST", "/users/{id}/skills"),
    ("DELETE", "/users/{id}/skills"),
    ("GET", "/health"),
]
ROUTER = Router([declared(*each) for each in PATHS], 3)


def route(method: str, path: str) -> tuple[str, list[str]]:
    """The route that answers and the raw values of its parameters."""
    invocation, values = ROUTER.resolve(method, path)
    return invocation.endpoint.route, values


def test_a_path_finds_its_endpoint() -> None:
    assert route("GET", "/users") == ("/users", [])
    assert route("GET", "/users/17") == ("/users/{id}", ["17"])
    assert route("POST", "/users/17/skills") == ("/users/{id}/skills", ["17"])


def test_a_fixed_segment_goes_before_a_parameter() -> None:
    assert route("GET", "/users/me") == ("/users/me", [])


def test_head_is_answered_by_get() -> None:
    assert route("HEAD", "/users/17") == ("/users/{id}", ["17"])


@pytest.mark.parametrize(
    "path",
    ["/", "", "/user", "/users/", "/users/17/", "/users/17/skills/", "/users//skills", "//users",
     "/users/17/skills/3", "/USERS", "/users/17//", "users"],
)  # fmt: skip
def test_a_path_that_is_nothing_is_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        ROUTER.resolve("GET", path)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/users", "GET, HEAD, OPTIONS"),
        ("DELETE", "/users/me", "GET, HEAD, OPTIONS, PATCH"),
        ("GET", "/users/17/skills", "DELETE, OPTIONS, POST"),
        ("HEAD", "/users/17/skills", "DELETE, OPTIONS, POST"),
        ("get", "/users", "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/health", "GET, HEAD, OPTIONS"),
        ("BREW", "/health", "GET, HEAD, OPTIONS"),
    ],
)
def test_another_method_is_told_the_allowed_ones(method: str, path: str, allowed: str) -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        ROUTER.resolve(method, path)
    assert refused.value.headers == {"Allow": allowed}


def test_a_path_tells_its_methods_without_being_asked_for_one() -> None:
    assert ROUTER.methods("/users/me") == ["GET", "HEAD", "OPTIONS", "PATCH"]
    with pytest.raises(NotFound):
        ROUTER.methods("/nothing")


def test_two_declarations_of_one_route_dont_start() -> None:
    with pytest.raises(ValueError, match="GET /users is declared twice"):
        Router([declared("GET", "/users"), declared("GET", "/users")], 1)


def test_a_handler_that_doesnt_fit_its_path_doesnt_start() -> None:
    async def handler(key: int) -> None: ...

    declaration = endpoint("GET", "/users/{id}", access=anyone)(handler)
    with pytest.raises(TypeError, match="the parameters don't fit /api/v1/users"):
        Router([declaration], 1)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=40), st.sampled_from(["GET", "POST", "HEAD"]))
def test_no_path_does_worse_than_be_refused(path: str, method: str) -> None:
    try:
        invocation, _ = ROUTER.resolve(method, path)
    except (NotFound, MethodNotAllowed):
        return
    assert invocation in [ROUTER.resolve(*each)[0] for each in PATHS]
