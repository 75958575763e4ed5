"""Limits as callers meet them: who is counted as whom, and what every answer tells."""

import os
import re
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import httpx
import msgspec
import pytest

from mercenary import settings
from mercenary.app import ENDPOINTS, Application
from mercenary.cache import valkey as cache
from mercenary.edge.rate_limit import AWAY_SECONDS
from mercenary.http.endpoint import SENSITIVE, UNLIMITED, Endpoint
from mercenary.local.valkey import EmbeddedValkey
from tests.factories import Person, new_account, sign_up

GUEST, USER, SENSITIVE_LIMIT = 20, 30, 6
# Windows that no test sees the end of.
YEAR = 31_536_000
PROXY = "10.1.2.3"
HEADERS = (
    "ratelimit-policy",
    "ratelimit",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
)
_numbers = count(1)


@pytest.fixture(scope="module")
async def application(database_uri: str, valkey: EmbeddedValkey) -> AsyncIterator[Application]:
    """The application with small limits."""
    os.environ["CACHE_CONFIG"] = valkey.cache_config
    os.environ["SQLALCHEMY_DATABASE_URI"] = database_uri
    settings.get.cache_clear()
    small = msgspec.structs.replace(
        settings.get(),
        guest_limit=GUEST,
        guest_window=YEAR,
        user_limit=USER,
        user_window=YEAR,
        sensitive_limit=SENSITIVE_LIMIT,
        sensitive_window=YEAR,
        trusted_proxies=(f"{PROXY}/32",),
        valkey_timeout=10.0,
    )
    application = Application(small, database_uri)
    await application.start()
    await cache.current().ask(lambda redis: redis.flushall())
    yield application
    await application.stop()


def new_address() -> str:
    """An address that nobody has called from."""
    number = next(_numbers)
    return f"198.51.{number // 256}.{number % 256}"


def calling_from(application: Application, address: str | None = None) -> httpx.AsyncClient:
    """A guest's client at an address, by default one that nobody has called from."""
    transport = httpx.ASGITransport(application, client=(address or new_address(), 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://mercenary")


@pytest.fixture
def guest(application: Application) -> httpx.AsyncClient:
    """A client at an address of its own."""
    return calling_from(application)


def left(answer: httpx.Response) -> int:
    """What is left of the tightest limit."""
    return int(answer.headers["x-ratelimit-remaining"])


async def use_up(client: httpx.AsyncClient, path: str = "/api/v1/skills") -> httpx.Response:
    """Ask until it is refused; gives the refusal."""
    while (answer := await client.get(path)).status_code != 429:
        assert left(answer) >= 0
    return answer


async def test_an_answer_tells_the_limit_and_what_is_left(guest: httpx.AsyncClient) -> None:
    for asked in range(1, 4):
        answer = await guest.get("/api/v1/projects")
        assert answer.headers["ratelimit-policy"] == f'"guest";q={GUEST};w={YEAR}'
        found = re.fullmatch(r'"guest";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
        assert found is not None
        assert int(found[1]) == left(answer) == GUEST - asked
        assert 0 < int(found[2]) <= YEAR + 1
        assert answer.headers["x-ratelimit-limit"] == str(GUEST)
        assert int(answer.headers["x-ratelimit-reset"]) % YEAR == 0


async def test_the_limit_is_the_limit_and_then_it_is_429(guest: httpx.AsyncClient) -> None:
    for number in range(GUEST):
        answer = await guest.get("/api/v1/skills")
        assert (answer.status_code, left(answer)) == (200, GUEST - 1 - number)
    answer = await guest.get("/api/v1/skills")
    assert answer.status_code == 429
    problem = answer.json()
    assert problem["type"] == "/problems/rate-limited"
    assert str(GUEST) in problem["detail"]
    assert 0 < int(answer.headers["retry-after"]) <= YEAR + 1
    assert left(answer) == 0
    assert f";t={answer.headers['retry-after']}" in answer.headers["ratelimit"]
    # Who was refused costs no trip to Valkey.
    calls = cache.current().measures.calls
    for _ in range(50):
        assert (await guest.get("/api/v1/projects")).status_code == 429
    assert cache.current().measures.calls == calls


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
async def test_every_answer_of_a_limited_route_has_the_headers(
    endpoint: Endpoint, guest: httpx.AsyncClient
) -> None:
    path = re.sub(r"\{\w+\}", "7", endpoint.route)
    answers = [
        await guest.request(endpoint.method, path),
        await guest.request(endpoint.method, path + "?zzz=1"),
        await guest.request(endpoint.method, path, headers={"Authorization": "Bearer x"}),
        await guest.request("PROPFIND", path),
    ]
    for answer in answers[:3]:
        told = [name for name in HEADERS if name in answer.headers]
        assert told == ([] if endpoint.rate is UNLIMITED else list(HEADERS)), answer
    assert all(name in answers[3].headers for name in HEADERS)


def test_what_guards_accounts_and_what_cannot_be_undone_is_sensitive() -> None:
    named = re.compile(r"/auth/|password|/accept")
    for endpoint in ENDPOINTS:
        assert endpoint.rate is SENSITIVE or not named.search(endpoint.route), endpoint.route
    assert {endpoint.route for endpoint in ENDPOINTS if endpoint.rate is UNLIMITED} == {
        "/livez", "/readyz", "/health", "/openapi.json", "/docs", "/docs/assets/{name}",
        "/problems/{slug}",
    }  # fmt: skip


async def test_a_path_that_leads_nowhere_counts(guest: httpx.AsyncClient) -> None:
    for number in range(GUEST):
        answer = await guest.get(f"/nowhere/{number}")
        assert (answer.status_code, left(answer)) == (404, GUEST - 1 - number)
    assert (await guest.get("/nowhere")).status_code == 429


async def test_credentials_that_are_not_good_count_at_their_address(
    guest: httpx.AsyncClient,
) -> None:
    for number in range(GUEST):
        answer = await guest.get("/api/v1/skills", headers={"Authorization": f"Bearer {number}"})
        assert (answer.status_code, left(answer)) == (401, GUEST - 1 - number)
        assert answer.headers["ratelimit"].startswith('"guest"')
    wrong = await guest.get("/api/v1/skills", headers={"Authorization": "Bearer x"})
    assert wrong.status_code == 429


async def test_a_sensitive_request_counts_twice(guest: httpx.AsyncClient) -> None:
    body = {"email": "nobody@example.com", "password": "not the one in question"}
    for number in range(SENSITIVE_LIMIT):
        answer = await guest.post("/api/v1/auth/login", json=body)
        assert (answer.status_code, left(answer)) == (401, SENSITIVE_LIMIT - 1 - number)
        assert answer.headers["ratelimit-policy"] == (
            f'"guest";q={GUEST};w={YEAR}, "sensitive";q={SENSITIVE_LIMIT};w={YEAR}'
        )
        lefts = re.findall(r'"(\w+)";r=(\d+);t=\d+', answer.headers["ratelimit"])
        assert lefts == [
            ("guest", str(GUEST - 1 - number)),
            ("sensitive", str(SENSITIVE_LIMIT - 1 - number)),
        ]
        assert answer.headers["x-ratelimit-limit"] == str(SENSITIVE_LIMIT)
    answer = await guest.post("/api/v1/auth/login", json=body)
    assert (answer.status_code, left(answer)) == (429, 0)
    assert answer.json()["type"] == "/problems/rate-limited"
    # What isn't sensitive goes on.
    answer = await guest.get("/api/v1/skills")
    assert (answer.status_code, left(answer)) == (200, GUEST - SENSITIVE_LIMIT - 2)


async def test_the_tightest_limit_may_be_the_general_one(guest: httpx.AsyncClient) -> None:
    for _ in range(GUEST - 1):
        await guest.get("/api/v1/skills")
    answer = await guest.post("/api/v1/auth/refresh", json={"refresh_token": "x"})
    assert answer.status_code == 401
    assert (answer.headers["x-ratelimit-limit"], left(answer)) == (str(GUEST), 0)


async def test_a_user_is_counted_apart_from_the_address(application: Application) -> None:
    address = new_address()
    async with calling_from(application, address) as client:
        ada = await sign_up(client)
        await use_up(client)
        answer = await ada.get("/users/me")
        assert (answer.status_code, left(answer)) == (200, USER - 1)
        assert answer.headers["ratelimit-policy"] == f'"user";q={USER};w={YEAR}'
        # A wrong token of the same address is a guest's.
        assert (
            await client.get("/api/v1/skills", headers={"Authorization": "Bearer x"})
        ).status_code == 429


async def test_a_user_is_counted_alike_from_everywhere(application: Application) -> None:
    ada = await sign_up(calling_from(application))
    for number in range(USER):
        elsewhere = Person(calling_from(application), ada.user, ada.email, ada.access_token)
        answer = await elsewhere.get("/users/me")
        assert (answer.status_code, left(answer)) == (200, USER - 1 - number)
    assert (await ada.get("/users/me")).status_code == 429


async def test_guests_of_one_ipv6_network_are_one(application: Application) -> None:
    network = f"2001:db8:0:{next(_numbers):x}"
    for host in range(GUEST):
        answer = await calling_from(application, f"{network}::{host:x}").get("/api/v1/skills")
        assert left(answer) == GUEST - 1 - host
    refused = await calling_from(application, f"{network}:ffff::").get("/api/v1/skills")
    assert refused.status_code == 429
    other = await calling_from(application, f"2001:db8:1:{next(_numbers):x}::").get("/livez")
    assert other.status_code == 200


async def test_a_caller_behind_a_trusted_proxy_is_counted_by_its_own_address(
    application: Application,
) -> None:
    proxy, stranger = calling_from(application, PROXY), calling_from(application)
    seen = set()
    for _ in range(3):
        claim = {"X-Forwarded-For": f"1.2.3.4, {new_address()}"}
        seen.add(left(await proxy.get("/api/v1/skills", headers=claim)))
    assert seen == {GUEST - 1}
    for number in range(3):
        claim = {"X-Forwarded-For": new_address()}
        assert left(await stranger.get("/api/v1/skills", headers=claim)) == GUEST - 1 - number


async def test_a_refusal_for_want_of_valkey_is_for_seconds(
    application: Application, guest: httpx.AsyncClient, tmp_path: Path
) -> None:
    """It ends with the outage, not with the window."""
    before = cache.current()
    cache.use(cache.Valkey(f"unix://{tmp_path}/nobody.sock", seconds=1))
    share = GUEST // application.limiter.workers
    statuses = [(await guest.get("/api/v1/skills")).status_code for _ in range(share)]
    refused = await guest.get("/api/v1/skills")
    await cache.current().close()
    cache.use(before)
    assert statuses == [200] * share
    assert (refused.status_code, left(refused)) == (429, 0)
    assert 1 <= int(refused.headers["retry-after"]) <= AWAY_SECONDS
    # Valkey is back: what was granted alone counts, and the rest is there.
    assert left(await guest.get("/api/v1/skills")) == GUEST - share - 1


async def test_registering_counts_however_it_ends(guest: httpx.AsyncClient) -> None:
    account = new_account()
    first = await guest.post("/api/v1/auth/register", json=account)
    second = await guest.post("/api/v1/auth/register", json=account)
    third = await guest.post("/api/v1/auth/register", content=b"{")
    assert [first.status_code, second.status_code, third.status_code] == [201, 409, 415]
    assert [left(answer) for answer in (first, second, third)] == [5, 4, 3]
