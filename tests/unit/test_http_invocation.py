"""A request on its way through an endpoint: judged in a fixed order, answered as declared."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, ClassVar

import httpx
import msgspec
import pytest
import structlog.testing
from msgspec import Meta
from starlette.types import Message, Receive, Scope, Send

from mercenary.edge.body import Body
from mercenary.edge.dispatch import Dispatch
from mercenary.edge.problems import Problems
from mercenary.edge.request_id import RequestId
from mercenary.edge.routing import Routing
from mercenary.edge.security_headers import SecurityHeaders
from mercenary.http.access import GUEST, Caller, UserId, anyone, role
from mercenary.http.endpoint import Content, Created, Endpoint, Page, endpoint, shared
from mercenary.http.openapi.answers import HEADERS
from mercenary.http.router import Router

MAX_BODY = 100
TRACE = "0af7651916cd43dd8448eb211c80319c"
JSON = {"Content-Type": "application/json"}


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    address: ClassVar[str] = "/notes/{id}"

    text: Annotated[str, Meta(max_length=50)]
    id: int = 7


@endpoint("GET", "/notes", access=anyone, cache=shared(tag="notes"))
async def list_notes() -> Page[Note]:
    """List notes."""
    return Page([Note("hello")], "next")


@endpoint("GET", "/notes/{id}", access=anyone)
async def show_note(id: int) -> Note:
    """Show a note."""
    return Note(f"note {id}")


@endpoint("POST", "/notes", access=anyone)
async def create_note(body: Note) -> Created[Note]:
    """Write a note."""
    return Created(body)


@endpoint("PUT", "/notes/{id}", access=role("admin"))
async def replace_note(caller: Caller, id: int, body: Note) -> None:
    """Replace a note."""


@endpoint("GET", "/broken", access=anyone)
async def break_down() -> Note:
    """Fail in a way that nobody foresaw."""
    raise RuntimeError("SELECT secret FROM passwords")


@endpoint("GET", "/teapot", access=anyone, base="")
async def show_teapot() -> Content:
    """Answer bytes."""
    return Content(b"short and stout", "text/plain", status=418, headers=(("X-Spout", "yes"),))


ENDPOINTS: list[Endpoint] = [
    list_notes,
    show_note,
    create_note,
    replace_note,
    break_down,
    show_teapot,
]


class As:
    """Lets every request come from one caller, whom a header names by role."""

    def __init__(self, app: Dispatch) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        roles = dict(scope["headers"]).get(b"x-role", b"").decode()
        known: dict[str, Caller] = {
            "client": Caller(UserId(1), "client"),
            "admin": Caller(UserId(2), "admin"),
        }
        scope["caller"] = known.get(roles, GUEST)
        await self.app(scope, receive, send)


def edge(router: Router) -> RequestId:
    """In the order of app.py."""
    body = Body(As(Dispatch()), limit=MAX_BODY, seconds=60, room=MAX_BODY)
    return RequestId(SecurityHeaders(Problems(Routing(body, router))))


EDGE = edge(Router(ENDPOINTS, 8))


@pytest.fixture
async def notes() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the endpoints above."""
    transport = httpx.ASGITransport(EDGE)
    async with httpx.AsyncClient(transport=transport, base_url="http://notes/api/v1") as client:
        yield client


def problem_of(answer: httpx.Response, status: int) -> str:
    """The slug of a problem, which must be complete."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["instance"] == answer.headers["x-request-id"]
    return str(problem["type"].removeprefix("/problems/"))


async def sent(headers: list[tuple[bytes, bytes]], *messages: Message) -> tuple[int, bytes]:
    """The status and body of the answer to a POST that arrives in these messages."""
    waiting = list(messages)
    answers: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/v1/notes", "query_string": b""}
    await EDGE(scope | {"headers": headers}, receive, send)
    return answers[0]["status"], b"".join(message.get("body", b"") for message in answers)


def chunk(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_list_links_to_its_next_page(notes: httpx.AsyncClient) -> None:
    answer = await notes.get("/notes")
    assert answer.json() == {"items": [{"text": "hello", "id": 7}], "next_cursor": "next"}
    assert answer.headers["link"] == '</api/v1/notes?cursor=next>; rel="next"'
    assert answer.headers["content-type"] == "application/json"


async def test_what_is_made_says_where_it_is(notes: httpx.AsyncClient) -> None:
    answer = await notes.post("/notes", json={"text": "new"})
    assert (answer.status_code, answer.json()) == (201, {"text": "new", "id": 7})
    assert answer.headers["location"] == "/api/v1/notes/7"


async def test_nothing_is_said_without_a_body(notes: httpx.AsyncClient) -> None:
    answer = await notes.put("/notes/1", json={"text": "x"}, headers={"X-Role": "admin"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-length" not in answer.headers
    assert "content-type" not in answer.headers


async def test_bytes_go_out_as_they_are(notes: httpx.AsyncClient) -> None:
    answer = await notes.get("http://notes/teapot", headers={"Accept": "image/png"})
    assert (answer.status_code, answer.text) == (418, "short and stout")
    assert answer.headers["x-spout"] == "yes"


@pytest.mark.parametrize("path", ["/notes", "/notes/3", "http://notes/teapot"])
async def test_head_is_get_without_the_body(notes: httpx.AsyncClient, path: str) -> None:
    get, head = await notes.get(path), await notes.head(path)
    assert head.content == b""
    assert head.status_code == get.status_code
    assert dict(head.headers) | {"x-request-id": ""} == dict(get.headers) | {"x-request-id": ""}


@pytest.mark.parametrize(
    ("caller", "control"),
    [
        ("", "public, max-age=0, s-maxage=0, stale-while-revalidate=0"),
        ("client", "private, max-age=0, must-revalidate"),
    ],
)
async def test_public_answers_may_be_kept(
    notes: httpx.AsyncClient, caller: str, control: str
) -> None:
    answer = await notes.get("/notes", headers={"X-Role": caller})
    assert answer.headers["cache-control"] == control
    assert answer.headers["vary"] == "Accept-Encoding, Authorization"


async def test_own_answers_may_not(notes: httpx.AsyncClient) -> None:
    assert (await notes.get("/notes/1")).headers["cache-control"] == "private, no-store"


async def test_every_answer_is_secured_and_named(notes: httpx.AsyncClient) -> None:
    for path in ("/notes", "/nowhere", "/broken"):
        answer = await notes.get(path)
        for name in ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"):
            assert answer.headers[name] == HEADERS[name]["example"]
        assert "content-security-policy" in answer.headers
        assert "permissions-policy" in answer.headers
        assert answer.headers["x-request-id"]


async def test_the_callers_request_id_is_kept(notes: httpx.AsyncClient) -> None:
    answer = await notes.get("/nowhere", headers={"X-Request-Id": "order-66/retry.2"})
    assert answer.headers["x-request-id"] == "order-66/retry.2"
    assert answer.json()["instance"] == "order-66/retry.2"


@pytest.mark.parametrize("given", ["short", "x" * 129, "with space", "semi;colon", 'quo"ted-id'])
async def test_an_ill_formed_request_id_is_replaced(notes: httpx.AsyncClient, given: str) -> None:
    answer = await notes.get("/notes", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] != given


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        (f"cc-{TRACE}-b7ad6b7169203331-01-what-may-come", TRACE),
        (f"ff-{TRACE}-b7ad6b7169203331-01", None),
        (f"00-{TRACE.upper()}-b7ad6b7169203331-01", None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}", None),
    ],
)
async def test_what_went_wrong_is_logged_with_the_callers_trace(
    notes: httpx.AsyncClient, given: str, found: str | None
) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = await notes.get("/broken", headers={"traceparent": given})
    assert [(one["trace_id"], one["request_id"]) for one in logged] == [
        (found, answer.headers["x-request-id"])
    ]


async def test_what_is_unforeseen_tells_nothing(notes: httpx.AsyncClient) -> None:
    answer = await notes.get("/broken")
    assert problem_of(answer, 500) == "internal-error"
    assert set(answer.json()) == {"type", "title", "status", "instance"}


async def test_another_method_is_told_the_allowed_ones(notes: httpx.AsyncClient) -> None:
    answer = await notes.delete("/notes")
    assert problem_of(answer, 405) == "method-not-allowed"
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*, text/plain;q=0.5"])
async def test_no_other_form_is_offered(notes: httpx.AsyncClient, accept: str) -> None:
    assert problem_of(await notes.get("/notes", headers={"Accept": accept}), 406)


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "application/json", "application/*", "Application/JSON", "text/html, */*;q=0.1",
     "application/problem+json"],
)  # fmt: skip
async def test_json_is_given_to_whoever_takes_it(notes: httpx.AsyncClient, accept: str) -> None:
    assert (await notes.get("/notes", headers={"Accept": accept})).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/xml", "multipart/form-data; boundary=x", "json",
     "application/json; charset=latin-1", "application/jsonp", "text/json"],
)  # fmt: skip
async def test_only_json_is_taken(notes: httpx.AsyncClient, content_type: str) -> None:
    answer = await notes.post(
        "/notes", content=b'{"text": "x"}', headers={"Content-Type": content_type}
    )
    assert problem_of(answer, 415) == "unsupported-media-type"


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"',
     "application/merge-patch+json"],
)  # fmt: skip
async def test_json_by_any_of_its_names_is_taken(
    notes: httpx.AsyncClient, content_type: str
) -> None:
    answer = await notes.post(
        "/notes", content=b'{"text": "x"}', headers={"Content-Type": content_type}
    )
    assert answer.status_code == 201, answer.text


async def test_a_compressed_body_isnt_taken(notes: httpx.AsyncClient) -> None:
    headers = JSON | {"Content-Encoding": "gzip"}
    assert problem_of(await notes.post("/notes", content=b"\x1f\x8b", headers=headers), 415)


@pytest.mark.parametrize("body", [b"", b"  ", b"{", b'{"text": "\xff"}', b"[" * 60])
async def test_a_body_that_cant_be_read_is_a_bad_request(
    notes: httpx.AsyncClient, body: bytes
) -> None:
    assert problem_of(await notes.post("/notes", content=body, headers=JSON), 400) == "bad-request"


async def test_what_breaks_rules_is_named(notes: httpx.AsyncClient) -> None:
    answer = await notes.post("/notes", json={"text": 5, "mood": "good"})
    assert problem_of(answer, 422) == "invalid"
    assert answer.json()["errors"] == [
        {"pointer": "/mood", "detail": "Unknown. Known: text, id"},
        {"pointer": "/text", "detail": "Expected a string, got an integer"},
    ]


async def test_a_body_over_the_limit_is_refused(notes: httpx.AsyncClient) -> None:
    body = b'{"text": "' + b"x" * MAX_BODY + b'"}'
    answer = await notes.post("/notes", content=body, headers=JSON)
    assert problem_of(answer, 413) == "payload-too-large"


async def test_a_body_at_the_limit_is_taken(notes: httpx.AsyncClient) -> None:
    body = b'{"text": "x"}'.ljust(MAX_BODY)
    assert (await notes.post("/notes", content=body, headers=JSON)).status_code == 201


async def test_a_long_body_is_refused_before_it_is_read() -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"999999999999")]
    status, _ = await sent(headers)
    assert status == 413


async def test_a_body_in_pieces_is_put_together() -> None:
    headers = [(b"content-type", b"application/json")]
    pieces = chunk(b'{"te', more=True), chunk(b'xt": "x"', more=True), chunk(b"}", more=False)
    assert await sent(headers, *pieces) == (201, b'{"text":"x","id":7}')


async def test_pieces_over_the_limit_are_refused_when_they_are() -> None:
    headers = [(b"content-type", b"application/json")]
    status, _ = await sent(headers, *(chunk(b" " * 60, more=True) for _ in range(2)))
    assert status == 413


async def test_a_caller_who_leaves_midway_gets_no_further() -> None:
    headers = [(b"content-type", b"application/json")]
    status, _ = await sent(headers, chunk(b'{"te', more=True), {"type": "http.disconnect"})
    assert status == 400


@pytest.mark.parametrize("id", ["0", "-1", "x", "9223372036854775808", "1%00", "%F0%9F%92%A9"])
async def test_an_id_out_of_range_is_not_found(notes: httpx.AsyncClient, id: str) -> None:
    assert problem_of(await notes.get(f"/notes/{id}"), 404) == "not-found"


async def test_an_unknown_parameter_is_refused_where_none_is_taken(
    notes: httpx.AsyncClient,
) -> None:
    answer = await notes.get("/notes/3?verbose=1")
    assert problem_of(answer, 422) == "invalid"
    assert answer.json()["errors"] == [
        {"pointer": "?verbose", "detail": "Unknown. None is taken here"}
    ]


async def test_a_trailing_slash_is_another_path(notes: httpx.AsyncClient) -> None:
    assert problem_of(await notes.get("/notes/"), 404) == "not-found"


REFUSALS: list[tuple[dict[str, Any], int]] = [
    # Each line mends what the line before was refused for.
    ({"url": "/notes/0?x=1", "content": b"x" * 200}, 413),
    ({"url": "/notes/0?x=1"}, 401),
    ({"url": "/notes/0?x=1", "headers": {"X-Role": "client"}}, 403),
    ({"url": "/notes/0?x=1", "headers": {"X-Role": "admin"}}, 404),
    ({"url": "/notes/1?x=1", "headers": {"X-Role": "admin"}}, 422),
    ({"url": "/notes/1", "headers": {"X-Role": "admin"}}, 415),
    ({"url": "/notes/1", "headers": JSON | {"X-Role": "admin"}}, 400),
    ({"url": "/notes/1", "headers": JSON | {"X-Role": "admin"}, "content": b"{}"}, 422),
]


@pytest.mark.parametrize(("request_", "status"), REFUSALS)
async def test_a_request_is_judged_in_a_fixed_order(
    notes: httpx.AsyncClient, request_: dict[str, Any], status: int
) -> None:
    answer = await notes.request("PUT", **request_)
    assert problem_of(answer, status)
    assert ("www-authenticate" in answer.headers) == (status == 401)
