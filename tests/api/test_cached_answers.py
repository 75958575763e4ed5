"""The contract's section «Caching», for every answer that callers share."""

import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import brotli
import httpx
import msgspec
import pytest
import zstandard

from mercenary.app import ENDPOINTS
from mercenary.events.relay import Relay
from mercenary.http.endpoint import BASE_PATH, Endpoint
from tests.conftest import Statements
from tests.factories import Person, new_project, post_project, sign_up, sign_up_admin

SHARED = [endpoint for endpoint in ENDPOINTS if endpoint.cache.public]
OWN = [
    endpoint
    for endpoint in ENDPOINTS
    if endpoint.method == "GET" and endpoint.base == BASE_PATH and not endpoint.cache.public
]
ORIGIN = "https://market.example"
PLAIN = {"accept-encoding": "identity"}
# Of this request alone: its name, what it counts, and what became of it.
PER_REQUEST = {
    "x-request-id",
    "ratelimit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-cache",
}
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda body: zstandard.ZstdDecompressor().decompress(body, max_output_size=1 << 24),
    "br": brotli.decompress,
    "gzip": gzip.decompress,
    "": bytes,
}
every_shared = pytest.mark.parametrize("endpoint", SHARED, ids=[each.name for each in SHARED])


@pytest.fixture(scope="module")
def changed_settings() -> dict[str, Any]:
    return {"cors_origins": (ORIGIN,)}


class Place:
    """A marketplace with something at every address."""

    def __init__(self, client: httpx.AsyncClient, ada: Person, admin: Person) -> None:
        self.client = client
        self.ada = ada
        self.admin = admin
        self.ids: dict[str, int] = {}

    def path(self, endpoint: Endpoint) -> str:
        kind = endpoint.path.strip("/").partition("/")[0]
        return BASE_PATH + endpoint.path.format(id=self.ids.get(kind))

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await raw(self.client, "GET", path, headers)


async def raw(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> httpx.Response:
    """Ask with these header fields and no others, and leave the body as it came."""
    request = httpx.Request(method, f"http://mercenary{path}", headers=headers)
    answer = await client.send(request, stream=True)
    answer.extensions["body"] = b"".join([part async for part in answer.aiter_raw()])
    await answer.aclose()
    return answer


def body_of(answer: httpx.Response) -> bytes:
    body: bytes = answer.extensions["body"]
    return DECODERS[answer.headers.get("content-encoding", "")](body)


def lasting(answer: httpx.Response) -> list[tuple[str, str]]:
    """The headers that don't belong to one request, in any order."""
    return sorted(
        (name, value) for name, value in answer.headers.multi_items() if name not in PER_REQUEST
    )


@pytest.fixture(scope="module")
async def place(client: httpx.AsyncClient, relay: Relay, database_uri: str) -> Place:
    admin = await sign_up_admin(client, database_uri)
    ada = await sign_up(client)
    place = Place(client, ada, admin)
    skill = await admin.post("/skills", {"name": "Beekeeping"})
    project = await post_project(ada, description="words " * 500)
    place.ids = {"users": ada.id, "projects": project["id"], "skills": skill.json()["id"]}
    return place


@pytest.fixture
async def database(database_uri: str) -> AsyncIterator[asyncpg.Connection]:
    """A way to change rows behind the product's back."""
    connection = await asyncpg.connect(database_uri)
    yield connection
    await connection.close()


@every_shared
async def test_the_second_answer_is_the_first_ones_and_asks_nobody(
    place: Place, endpoint: Endpoint, statements: Statements
) -> None:
    path = f"{place.path(endpoint)}?fields=id" if "{id}" in endpoint.path else place.path(endpoint)
    first = await place.get(path, **PLAIN)
    assert first.status_code == 200
    assert first.headers["x-cache"] in ("miss", "hit-redis", "hit-memory")
    with statements.recorded():
        again = await place.get(path, **PLAIN)
    assert again.headers["x-cache"] == "hit-memory"
    assert not statements
    assert body_of(again) == body_of(first)
    assert lasting(again) == lasting(first)


@every_shared
@pytest.mark.parametrize("coding", ["zstd", "br", "gzip", "identity"])
async def test_a_hit_comes_in_every_coding_with_the_same_bytes_and_tag(
    place: Place, endpoint: Endpoint, coding: str
) -> None:
    path = place.path(endpoint)
    plain = await place.get(path, **PLAIN)
    for _ in range(2):
        hit = await place.get(path, **{"accept-encoding": coding})
        assert hit.headers["x-cache"] == "hit-memory"
        assert body_of(hit) == body_of(plain)
        assert hit.headers["etag"] == plain.headers["etag"]
        large = len(body_of(plain)) >= 1024
        expected = coding if large and coding != "identity" else None
        assert hit.headers.get("content-encoding") == expected
        assert int(hit.headers["content-length"]) == len(hit.extensions["body"])
        assert hit.headers["vary"].startswith("Accept-Encoding, Authorization")
    fresh = await place.get(path, **{"accept-encoding": coding, "cache-control": "no-cache"})
    assert lasting(fresh) == lasting(hit)
    assert fresh.extensions["body"] == hit.extensions["body"]


@every_shared
async def test_head_and_what_is_known_are_answered_from_the_cache_without_a_body(
    place: Place, endpoint: Endpoint
) -> None:
    path = place.path(endpoint)
    full = await place.get(path, **PLAIN)
    head = await raw(place.client, "HEAD", path, PLAIN)
    assert (head.status_code, head.extensions["body"]) == (200, b"")
    assert lasting(head) == lasting(full)
    assert head.headers["x-cache"] == "hit-memory"
    for known in (
        full.headers["etag"],
        f"W/{full.headers['etag']}",
        "*",
        f'"x", {full.headers["etag"]}',
    ):
        for method in ("GET", "HEAD"):
            same = await raw(place.client, method, path, PLAIN | {"if-none-match": known})
            assert (same.status_code, same.extensions["body"]) == (304, b"")
            assert same.headers["x-cache"] == "hit-memory"
            forced = await raw(
                place.client,
                method,
                path,
                PLAIN | {"if-none-match": known, "cache-control": "no-cache"},
            )
            assert (forced.status_code, lasting(forced)) == (304, lasting(same))
    other = await place.get(path, **PLAIN, **{"if-none-match": '"other"'})
    assert other.status_code == 200


@every_shared
async def test_who_is_signed_in_shares_the_bytes_and_the_tag_and_is_told_to_ask_again(
    place: Place, endpoint: Endpoint
) -> None:
    path = place.path(endpoint)
    bob = await sign_up(place.client)
    guest = await place.get(path, **PLAIN)
    assert guest.headers["cache-control"].startswith("public, max-age=0, s-maxage=")
    assert guest.headers["surrogate-key"].split() == guest.headers["cache-tag"].split(",")
    for _ in range(2):
        hit = await place.get(path, **PLAIN, **bob.headers)
        assert hit.headers["x-cache"] == "hit-memory"
        assert hit.headers["cache-control"] == "private, max-age=0, must-revalidate"
        assert not {"surrogate-key", "cache-tag"} & set(hit.headers)
        assert body_of(hit) == body_of(guest)
        assert hit.headers["etag"] == guest.headers["etag"]
    again = await place.get(path, **PLAIN)
    assert lasting(again) == lasting(guest)


@every_shared
async def test_admins_are_answered_from_the_database(place: Place, endpoint: Endpoint) -> None:
    path = place.path(endpoint)
    await place.get(path)
    answer = await place.get(path, **place.admin.headers)
    assert answer.headers["x-cache"] == "bypass"
    assert answer.headers["cache-control"].startswith("private")
    if endpoint.path.startswith("/users"):
        assert place.ada.email.encode() in body_of(answer)
        assert place.ada.email.encode() not in body_of(await place.get(path))


@pytest.mark.parametrize("endpoint", OWN, ids=[each.name for each in OWN])
async def test_what_is_ones_own_bypasses_the_cache(place: Place, endpoint: Endpoint) -> None:
    path = BASE_PATH + endpoint.path.format(id=place.ids["projects"])
    for _ in range(2):
        answer = await place.get(path, **place.ada.headers)
        assert answer.headers["x-cache"] == "bypass"
        assert answer.headers["cache-control"] in ("private, no-store", "no-store")


async def test_a_write_tells_nothing_of_the_cache(place: Place) -> None:
    created = await place.ada.post("/projects", new_project())
    changed = await place.ada.patch(f"/projects/{created.json()['id']}", {"title": "Another"})
    refused = await place.ada.patch(f"/projects/{created.json()['id']}", {"title": ""})
    assert [each.status_code for each in (created, changed, refused)] == [201, 200, 422]
    assert not any("x-cache" in each.headers for each in (created, changed, refused))


async def test_whoever_says_no_cache_hears_the_database_and_so_does_everybody_then(
    place: Place, database: asyncpg.Connection, statements: Statements
) -> None:
    for path, change in {
        place.path(next(e for e in SHARED if e.name == "show_user")): "UPDATE users SET bio = $1",
        f"{BASE_PATH}/projects?limit=7": "UPDATE projects SET description = $1",
    }.items():
        before = await place.get(path, **PLAIN)
        await database.execute(change, "Changed behind everybody's back")
        assert body_of(await place.get(path, **PLAIN)) == body_of(before)
        with statements.recorded():
            anew = await place.get(path, **PLAIN, **{"cache-control": "max-age=0, No-Cache"})
        assert anew.headers["x-cache"] == "bypass"
        assert len(statements) >= 1
        assert b"behind everybody's back" in body_of(anew)
        kept = await place.get(path, **PLAIN)
        assert kept.headers["x-cache"] == "hit-memory"
        assert body_of(kept) == body_of(anew)


async def test_no_cache_is_also_said_of_what_an_answer_is_made_of(
    place: Place, database: asyncpg.Connection
) -> None:
    """Admins are passed on, and given a total that everybody shares."""
    path = f"{BASE_PATH}/skills?include=total"

    async def total(**headers: str) -> int:
        answer = await place.get(path, **PLAIN, **place.admin.headers, **headers)
        return int(msgspec.json.decode(body_of(answer))["total"])

    before = await total()
    await database.execute("INSERT INTO skills (id, name) VALUES (900, 'Unannounced')")
    assert await total() == before
    assert await total(**{"cache-control": "no-cache"}) == before + 1
    assert await total() == before + 1


@every_shared
async def test_a_hit_counts_against_the_limit_and_says_so_like_a_miss(
    place: Place, endpoint: Endpoint
) -> None:
    path = place.path(endpoint)
    bob = await sign_up(place.client)
    for headers in (PLAIN, PLAIN | bob.headers):
        answers = [
            await raw(place.client, "GET", path, headers | more)
            for more in ({"cache-control": "no-cache"}, {}, {}, {"if-none-match": "*"}, {})
        ]
        left = [int(answer.headers["x-ratelimit-remaining"]) for answer in answers]
        assert left == [left[0] - spent for spent in range(5)]
        for answer, remaining in zip(answers, left, strict=True):
            assert f";r={remaining};t=" in answer.headers["ratelimit"]
        for name in ("ratelimit-policy", "x-ratelimit-limit"):
            assert len({answer.headers[name] for answer in answers}) == 1


@every_shared
async def test_a_hit_has_no_other_callers_headers(place: Place, endpoint: Endpoint) -> None:
    path = place.path(endpoint)
    theirs = {
        "x-request-id": "theirs-and-nobody-elses",
        "origin": ORIGIN,
        "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01",
    }
    filled = await place.get(path, **PLAIN, **theirs, **{"cache-control": "no-cache"})
    assert filled.headers["access-control-allow-origin"] == ORIGIN
    hit = await place.get(path, **PLAIN)
    assert hit.headers["x-cache"] == "hit-memory"
    assert "access-control-allow-origin" not in hit.headers
    assert "Origin" in hit.headers.get_list("vary")
    for text in map(str, hit.headers.multi_items()):
        assert not any(mark in text for mark in ("theirs-and", "ab" * 16, "cd" * 8))
    allowed = await place.get(path, **PLAIN, origin=ORIGIN)
    assert allowed.headers["x-cache"] == "hit-memory"
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "X-Cache" in allowed.headers["access-control-expose-headers"]
    foreign = await place.get(path, **PLAIN, origin="https://elsewhere.example")
    assert lasting(foreign) == lasting(hit)
    named = await place.get(path, **PLAIN, **{"x-request-id": "mine-this-time"})
    assert named.headers["x-request-id"] == "mine-this-time"
    assert hit.headers["x-request-id"] != filled.headers["x-request-id"]


async def test_answers_above_64_kib_are_kept_too(place: Place) -> None:
    bob = await sign_up(place.client)
    for number in range(8):
        await post_project(bob, description=f"{number} " * 9_000)
    path = f"{BASE_PATH}/projects?client_id={bob.id}"
    plain = await place.get(path, **PLAIN)
    assert len(body_of(plain)) > 128 * 1024
    for coding in ("identity", "zstd", "br", "gzip"):
        hit = await place.get(path, **{"accept-encoding": coding})
        assert hit.headers["x-cache"] == "hit-memory"
        assert body_of(hit) == body_of(plain)


async def test_what_went_wrong_is_never_kept(place: Place, statements: Statements) -> None:
    path = f"{BASE_PATH}/projects/{place.ids['projects']}"
    await place.get(path)
    for asked, headers, status in (
        (f"{BASE_PATH}/projects/999999999", {}, 404),
        (f"{BASE_PATH}/projects/zero", {}, 404),
        (f"{BASE_PATH}/projects?limit=0", {}, 422),
        (f"{BASE_PATH}/projects?cursor=forged", {}, 400),
        (path, {"accept": "text/html"}, 406),
        (path, {"accept-encoding": "compress, identity;q=0"}, 406),
        (path, {"authorization": "Bearer nonsense"}, 401),
    ):
        for _ in range(2):
            answer = await place.get(asked, **headers)
            assert answer.status_code == status
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers.get("x-cache") in (None, "miss")
    with statements.recorded():
        await place.get(f"{BASE_PATH}/projects/999999999")
    assert len(statements) >= 1


async def test_what_wasnt_there_for_a_guest_is_asked_for_anew_when_it_comes(place: Place) -> None:
    draft = await post_project(place.ada, status="draft")
    path = f"{BASE_PATH}/projects/{draft['id']}"
    assert (await place.get(path)).status_code == 404
    own = await place.get(path, **place.ada.headers)
    assert (own.status_code, own.headers["x-cache"]) == (200, "bypass")
    assert (await place.get(path)).status_code == 404
    await place.ada.patch(f"/projects/{draft['id']}", {"status": "open"})
    assert (await place.get(path)).status_code == 200


@pytest.mark.parametrize("known", [["{tag}", '"other"'], ['"other"', "{tag}"]])
async def test_several_lines_of_known_tags_are_one_list(place: Place, known: list[str]) -> None:
    path = f"{BASE_PATH}/projects/{place.ids['projects']}"
    tag = (await place.get(path)).headers["etag"]
    headers = [("if-none-match", each.format(tag=tag)) for each in known]
    for cache_control in ("no-cache", "max-age=0"):
        request = httpx.Request(
            "GET", f"http://mercenary{path}", headers=[*headers, ("cache-control", cache_control)]
        )
        assert (await place.client.send(request)).status_code == 304


async def test_of_two_credentials_the_first_counts_also_on_a_hit(place: Place) -> None:
    bob = await sign_up(place.client)
    path = f"{BASE_PATH}/projects?client_id={place.ada.id}"
    for each in (place.ada, bob):
        await place.get(f"{BASE_PATH}/projects", **each.headers)
    draft = await post_project(place.ada, status="draft")
    await place.get(path)
    both = [("authorization", each.headers["Authorization"]) for each in (place.ada, bob)]
    for headers, expected in ((both, True), (both[::-1], False)):
        request = httpx.Request("GET", f"http://mercenary{path}", headers=headers)
        items = (await place.client.send(request)).json()["items"]
        assert (draft["id"] in {item["id"] for item in items}) is expected
