"""Whatever is asked before, and by whom, nobody gets the answer to another question.

Requests are made up: of all spellings of paths and parameters, of fields that other caches have
mixed up, and of callers. Each is answered by whatever is kept, and then by the database; both must
say the same, but for what belongs to one request.
"""

import gzip
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import asyncpg
import httpx
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mercenary.app import Application
from mercenary.events.relay import Relay
from tests.factories import Person, post_project, sign_up, sign_up_admin

ONE_REQUESTS = {
    b"x-request-id",
    b"ratelimit",
    b"x-ratelimit-remaining",
    b"x-ratelimit-reset",
    b"x-cache",
}
INSTANCE = re.compile(rb'"instance":"[^"]*"')
DECODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"": bytes,
    b"gzip": gzip.decompress,
    b"zstd": lambda body: zstandard.ZstdDecompressor().decompress(body, max_output_size=1 << 24),
}
SECRET = "a secret draft"


class World:
    """People and projects, and requests in the form in which a server hands them on."""

    def __init__(self, application: Application, people: dict[str, Person], ids: list[int]) -> None:
        self.application = application
        self.people = people
        self.ids = ids

    async def ask(
        self, caller: str, method: str, target: str, fields: list[tuple[str, str]], body: bytes
    ) -> tuple[int, dict[bytes, list[bytes]], bytes]:
        path, _, query = target.partition("?")
        headers = [(name.encode(), value.encode()) for name, value in fields]
        if caller != "guest":
            headers.append(
                (b"authorization", self.people[caller].headers["Authorization"].encode())
            )
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path, errors="replace"),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("mercenary", 80),
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.application(scope, receive, send)
        answer: dict[bytes, list[bytes]] = {}
        for name, value in sent[0]["headers"]:
            answer.setdefault(name, []).append(value)
        content = b"".join(message.get("body", b"") for message in sent[1:])
        coding = b"".join(answer.get(b"content-encoding", []))
        return sent[0]["status"], answer, DECODERS[coding](content) if content else b""


@pytest.fixture(scope="module")
async def world(
    application: Application, client: httpx.AsyncClient, relay: Relay, database_uri: str
) -> World:
    people = {
        "admin": await sign_up_admin(client, database_uri),
        "owner": await sign_up(client, name="Ada Åström"),
        "user": await sign_up(client, "freelancer"),
    }
    owner = people["owner"]
    posted = [await post_project(owner, title=f"Project {n}") for n in range(3)]
    posted.append(await post_project(owner, title=SECRET, status="draft"))
    connection = await asyncpg.connect(database_uri)
    await connection.execute("INSERT INTO skills (id, name) VALUES (1, 'Café'), (2, 'Chess')")
    await connection.close()
    return World(application, people, [project["id"] for project in posted] + [owner.id])


def spelt(text: str) -> st.SearchStrategy[str]:
    """A text with some of its letters percent-encoded."""
    return st.lists(st.integers(0, 11), min_size=len(text), max_size=len(text)).map(
        lambda chances: "".join(
            f"%{ord(letter):02x}" if chance == 0 and letter.isalnum() else letter
            for letter, chance in zip(text, chances, strict=True)
        )
    )


BASES = """projects users skills users/me projects/{0} projects/{1} projects/{3} users/{4} skills/1
    projects/{3}/proposals users/me/proposals stats/skills""".split()
BEHIND = ["/", "//", ".", "/.", "/..", "%2f", "%2F", ";a=1", "%00", "%20", "/me", "#"]
ASTRAY = """Projects PROJECTS /projects ./projects users/../projects users/ME users/%6de users/me%2f
    projects/%2e%2e/users/me users/0{4} users/+{4} users/%C3%A5 users/a%CC%8A skills/%EF%BC%91 *
    http://elsewhere/users""".split()
paths = st.one_of(
    st.sampled_from(BASES),
    st.sampled_from(BASES).flatmap(spelt),
    st.builds("{}{}".format, st.sampled_from(BASES), st.sampled_from(BEHIND)),
    st.sampled_from(ASTRAY),
)
SPELT = """limit=1 limit=20 limit=%31 Limit=1 LIMIT=1 limit=01 limit=1.0 limit= limit %6cimit=1
    status=open status=draft status=%64raft status=Open client_id={4} client_id=0{4}
    skill=1 skill=2 skill=1&skill=2 skill=2&skill=1 skill=1;2
    q=project+1 q=project%201 q=project%2B1 q=caf%C3%A9 q=cafe%CC%81 q=caf
    fields=id fields=title,id fields=id,title fields=id%2Ctitle fields=email,id
    include=total include=facets,total sort=created_at sort=-created_at sort=name
    page=1 page=2 min_budget=1 min_budget=1.00 & = a""".split()
parameters = st.lists(st.sampled_from(SPELT), max_size=4).map("&".join)
fields = st.lists(
    st.sampled_from(
        [
            ("host", "elsewhere.example"),
            ("x-forwarded-host", "elsewhere.example"),
            ("x-forwarded-for", "10.1.2.3"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=10.1.2.3;host=elsewhere.example;proto=https"),
            ("x-forwarded-prefix", "/admin"),
            ("x-original-url", "/api/v1/users/me"),
            ("x-rewrite-url", "/api/v1/users/me"),
            ("x-http-method-override", "DELETE"),
            ("x-method-override", "POST"),
            ("range", "bytes=0-3"),
            ("if-range", '"x"'),
            ("if-modified-since", "Wed, 25 Nov 2026 00:00:00 GMT"),
            ("if-match", '"1-1"'),
            ("if-none-match", '"1-1"'),
            ("if-none-match", "*"),
            ("accept", "application/json"),
            ("accept", "text/html"),
            ("accept", "*/*;q=0.1"),
            ("accept", "application/*"),
            ("accept-language", "de"),
            ("accept-encoding", "gzip"),
            ("accept-encoding", "br;q=0, zstd"),
            ("accept-encoding", "identity;q=0, gzip"),
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("transfer-encoding", "chunked"),
            ("cookie", "session=1"),
            ("origin", "https://elsewhere.example"),
            ("pragma", "no-cache"),
            ("authorization", "Basic YTpi"),
            ("idempotency-key", "key"),
        ]
    ),
    max_size=4,
)


@settings(
    max_examples=600,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    caller=st.sampled_from(["guest", "guest", "user", "owner", "admin"]),
    method=st.sampled_from(["GET", "GET", "GET", "HEAD", "get", "Head", "OPTIONS", "PUT"]),
    path=paths,
    query=parameters,
    given_fields=fields,
    body=st.sampled_from([b"", b"", b"{}"]),
)
async def test_what_is_kept_says_what_the_database_says(
    world: World,
    caller: str,
    method: str,
    path: str,
    query: str,
    given_fields: list[tuple[str, str]],
    body: bytes,
) -> None:
    target = f"/api/v1/{path}?{query}" if query else f"/api/v1/{path}"
    target = re.sub(r"\{(\d)\}", lambda found: str(world.ids[int(found[1])]), target)
    if not any(name == "host" for name, _ in given_fields):
        given_fields = [*given_fields, ("host", "mercenary")]
    anew = [*given_fields, ("cache-control", "no-cache")]
    for fields_now in (given_fields, given_fields[::-1]):
        kept = await world.ask(caller, method, target, fields_now, body)
        fresh = await world.ask(caller, method, target, anew, body)
        assert comparable(kept) == comparable(fresh)
        judge(world, caller, target, kept)


def comparable(answer: tuple[int, dict[bytes, list[bytes]], bytes]) -> Any:
    status, headers, body = answer
    lasting = {name: sorted(values) for name, values in headers.items() if name not in ONE_REQUESTS}
    if lasting.get(b"content-type") == [b"application/problem+json"]:
        body = INSTANCE.sub(b"", body)
        lasting.pop(b"content-length", None)
    return status, lasting, body


def judge(
    world: World, caller: str, target: str, answer: tuple[int, dict[bytes, list[bytes]], bytes]
) -> None:
    """Nobody sees what is another's, and what is one's own is never shared."""
    _, headers, body = answer
    for name, person in world.people.items():
        if caller not in (name, "admin"):
            assert person.email.encode() not in body
    if caller in ("guest", "user"):
        assert SECRET.encode() not in body
        if "/me" in unquote(target):
            assert headers.get(b"x-cache") in (None, [b"bypass"])
    if caller != "guest":
        assert not headers.get(b"cache-control", [b""])[0].startswith(b"public")
