"""On a real socket, too, whatever is kept answers a request as the database would."""

import re

import pytest

from tests.door.raw import Answer, Door, request
from tests.factories import Person, post_project

HIDDEN = "what nobody else may see"
PER_REQUEST = {"date", "x-request-id", "ratelimit", "x-cache"} | {
    f"x-ratelimit-{name}" for name in ("remaining", "reset")
}
CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"


def lasting(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    headers = {name: each for name, each in answer.headers.items() if name not in PER_REQUEST}
    return answer.status, headers, re.sub(rb'"instance":"[^"]*"', b"", answer.body)


@pytest.mark.parametrize(
    ("line", "fields", "body"),
    [
        ("GET /api/v1/projects HTTP/1.1", (), b""),
        ("GET /api/v1/projects HTTP/1.0", (), b""),
        ("get /api/v1/projects HTTP/1.1", (), b""),
        ("GET http://door/api/v1/projects HTTP/1.1", (), b""),
        ("GET http://elsewhere/api/v1/projects?limit=1 HTTP/1.1", (), b""),
        ("GET /api/v1/projects?limit=1&limit=2 HTTP/1.1", (), b""),
        ("GET /api/v1/%70rojects HTTP/1.1", (), b""),
        ("GET /api/v1/projects/ HTTP/1.1", (), b""),
        ("GET /api/v1/./projects HTTP/1.1", (), b""),
        ("GET /api/v1/projects/../users/me HTTP/1.1", (), b""),
        ("GET /api/v1/projects%2f..%2fusers%2fme HTTP/1.1", (), b""),
        ("GET /api/v1/projects;a=1 HTTP/1.1", (), b""),
        ("GET /api/v1/projects? HTTP/1.1", (), b""),
        ("GET /api/v1/projects?q=a+b HTTP/1.1", (), b""),
        ("GET /api/v1/projects?q=a%20b HTTP/1.1", (), b""),
        ("GET /api/v1/projects HTTP/1.1", ("X-Forwarded-Host: elsewhere",), b""),
        ("GET /api/v1/projects HTTP/1.1", ("X-Original-URL: /api/v1/users/me",), b""),
        ("GET /api/v1/projects HTTP/1.1", ("X-HTTP-Method-Override: DELETE",), b""),
        ("GET /api/v1/projects HTTP/1.1", ("Range: bytes=0-3",), b""),
        ("GET /api/v1/projects HTTP/1.1", ("Content-Length: 2",), b"{}"),
        ("GET /api/v1/projects HTTP/1.1", ("Transfer-Encoding: chunked",), CHUNKED),
        ("GET /api/v1/projects HTTP/1.1", ("Accept: text/html",), b""),
        ("GET /api/v1/users/me HTTP/1.1", (), b""),
    ],
)
async def test_a_request_is_answered_as_the_database_would_whoever_asked_before(
    door: Door, owner: Person, line: str, fields: tuple[str, ...], body: bytes
) -> None:
    draft = await post_project(owner, title=HIDDEN, status="draft")
    own = (f"Authorization: {owner.headers['Authorization']}",)
    # The owner asks first, for everything that only they may see.
    for path in ("users/me", "projects?status=draft", f"projects/{draft['id']}"):
        assert door.exchange(request(f"GET /api/v1/{path} HTTP/1.1", *own)).first.status == 200
    for who in ((), own):
        kept = [door.exchange(request(line, *fields, *who, body=body)).first for _ in range(2)]
        anew = door.exchange(request(line, *fields, *who, "Cache-Control: no-cache", body=body))
        for answer in kept:
            assert lasting(answer) == lasting(anew.first)
            if not who:
                assert HIDDEN.encode() not in answer.body
                assert owner.email.encode() not in answer.body
