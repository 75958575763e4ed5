"""Behind a real Varnish: guests get what it keeps and what changed, nobody gets another's."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from mercenary.local.children import Child
from mercenary.local.ports import hold_port
from mercenary.local.probe import http_answers
from mercenary.local.stack import without_settings
from mercenary.local.supervisor import mercenary_command
from mercenary.local.valkey import EmbeddedValkey
from tests.cdn.conftest import Relayed, Relaying, eventually
from tests.cdn.varnish import HOST, Varnish, was_kept
from tests.conftest import server_folder
from tests.factories import Person, post_project, sign_up
from tests.generous import GENEROUS

PER_CALLER = ("ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining")


@pytest.fixture(scope="module")
def api(database_uri: str, valkey: EmbeddedValkey) -> Iterator[int]:
    """The port of a server that may be cached."""
    with server_folder() as folder, hold_port(HOST, 0) as port:
        child = Child(
            "api",
            mercenary_command("serve", "--host", HOST, "--port", str(port), "--workers", "1"),
            folder / "api.log",
            lambda: http_answers(HOST, port),
            environment=without_settings()
            | GENEROUS
            | {
                "SQLALCHEMY_DATABASE_URI": database_uri,
                "CACHE_CONFIG": valkey.cache_config,
                "MERCENARY_TRUSTED_PROXIES": HOST,
                "MERCENARY_CDN": "varnish",
                "MERCENARY_VARNISH_ADDRESSES": "http://127.0.0.1:1",
            },
        )
        child.start()
        try:
            yield port
        finally:
            child.stop()


@pytest.fixture(scope="module")
def varnishes(api: int) -> Iterator[list[Varnish]]:
    """Two of them, which know nothing of each other."""
    with server_folder() as folder:
        started = [Varnish(folder / name, api) for name in ("one", "other")]
        for varnish in started:
            varnish.child.spawn()
        try:
            for varnish in started:
                varnish.child.wait_ready()
            yield started
        finally:
            for varnish in started:
                varnish.resume()
                varnish.child.stop()


@pytest.fixture
async def guests(varnishes: list[Varnish]) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A guest's client of each Varnish."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=f"{varnish.url}/api/v1", timeout=30)
            )
            for varnish in varnishes
        ]


@pytest.fixture
async def guest(guests: list[httpx.AsyncClient]) -> httpx.AsyncClient:
    """A guest's client of the first."""
    return guests[0]


@pytest.fixture
async def ada(api: int) -> AsyncIterator[Person]:
    """A client of the marketplace who asks the server itself."""
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{api}", timeout=30) as client:
        yield await sign_up(client)


@pytest.fixture
async def relayed(relaying: Relaying, varnishes: list[Varnish]) -> AsyncIterator[Relayed]:
    """Purging that tells both."""
    addresses = tuple(varnish.url for varnish in varnishes)
    relayed = await relaying(cdn="varnish", varnish_addresses=addresses, cdn_call_seconds=0.5)
    async with relayed.running():
        yield relayed


async def kept(guest: httpx.AsyncClient, path: str, **options: Any) -> httpx.Response:
    """What Varnish keeps of a path, which it is made to."""
    first = await guest.get(path, **options)
    assert first.status_code == 200
    again = await guest.get(path, **options)
    assert was_kept(again)
    return again


async def test_a_guest_is_answered_by_varnish(guest: httpx.AsyncClient, ada: Person) -> None:
    project = await post_project(ada)
    for path in (f"/projects/{project['id']}", f"/projects?client_id={ada.id}", f"/users/{ada.id}"):
        first = await guest.get(path)
        assert not was_kept(first)
        again = await guest.get(path)
        assert was_kept(again)
        for name in ("etag", "cache-control", "vary", "content-type"):
            assert again.headers[name] == first.headers[name]
        assert again.content == first.content


async def test_who_has_it_already_is_told_so(guest: httpx.AsyncClient, ada: Person) -> None:
    answer = await kept(guest, f"/users/{ada.id}")
    again = await guest.get(f"/users/{ada.id}", headers={"If-None-Match": answer.headers["etag"]})
    assert was_kept(again)
    assert (again.status_code, again.content) == (304, b"")


async def test_what_changed_is_shown_by_each_varnish(
    guests: list[httpx.AsyncClient], ada: Person, relayed: Relayed
) -> None:
    project = await post_project(ada)
    one, some = f"/projects/{project['id']}", f"/projects?client_id={ada.id}"
    for guest in guests:
        assert (await kept(guest, one)).json()["title"] == project["title"]
        assert (await kept(guest, some)).json()["items"][0]["title"] == project["title"]
    changed = await ada.patch(one, {"title": "Another title"})
    assert changed.status_code == 200
    await relayed.relay()

    async def shown() -> bool:
        titles = set()
        for guest in guests:
            titles.add((await guest.get(one)).json()["title"])
            titles.add((await guest.get(some)).json()["items"][0]["title"])
        return titles == {"Another title"}

    await eventually(shown, "the new title")


async def test_the_relay_tells_each_varnish(
    guests: list[httpx.AsyncClient],
    varnishes: list[Varnish],
    database_uri: str,
    valkey: EmbeddedValkey,
    ada: Person,
    tmp_path: Path,
) -> None:
    """From the write to the CDN by processes of the product's alone."""
    path = f"/projects/{(await post_project(ada))['id']}"
    for guest in guests:
        await kept(guest, path)
    relay = Child(
        "relay",
        mercenary_command("relay"),
        tmp_path / "relay.log",
        lambda: True,
        environment=without_settings()
        | {
            "SQLALCHEMY_DATABASE_URI": database_uri,
            "CACHE_CONFIG": valkey.cache_config,
            "MERCENARY_CDN": "varnish",
            "MERCENARY_VARNISH_ADDRESSES": ",".join(varnish.url for varnish in varnishes),
        },
    )
    relay.start()
    try:
        await ada.patch(path, {"title": "Told by the relay"})

        async def shown() -> bool:
            titles = {(await guest.get(path)).json()["title"] for guest in guests}
            return titles == {"Told by the relay"}

        await eventually(shown, "the new title")
    finally:
        assert relay.stop()


async def test_other_tags_stay(guest: httpx.AsyncClient, ada: Person, relayed: Relayed) -> None:
    """Also those that a tag is the beginning of."""
    ids = [(await post_project(ada))["id"] for _ in range(2)]
    one, other = (f"/projects/{id}" for id in ids)
    await kept(guest, one)
    await kept(guest, other)
    await relayed.keep(f"project:{ids[0]}", f"project:{str(ids[1])[:-1]}", "project:1")

    async def gone() -> bool:
        return not was_kept(await guest.get(one))

    await eventually(gone, "forgotten")
    assert was_kept(await guest.get(other))


async def test_everything_is_forgotten_by_a_star(
    guest: httpx.AsyncClient, ada: Person, relayed: Relayed
) -> None:
    await kept(guest, f"/users/{ada.id}")
    await relayed.keep("*")

    async def gone() -> bool:
        return not was_kept(await guest.get(f"/users/{ada.id}"))

    await eventually(gone, "forgotten")


async def test_a_varnish_that_was_away_is_told_when_it_is_back(
    guests: list[httpx.AsyncClient], varnishes: list[Varnish], ada: Person, relayed: Relayed
) -> None:
    project = await post_project(ada)
    path = f"/projects/{project['id']}"
    for guest in guests:
        await kept(guest, path)
    varnishes[1].pause()
    await ada.patch(path, {"title": "Changed meanwhile"})
    await relayed.relay()
    away = relayed.purging.purgers[1].measures

    async def missed() -> bool:
        return away.failures > 0

    async def here() -> bool:
        return bool((await guests[0].get(path)).json()["title"] == "Changed meanwhile")

    async def there() -> bool:
        return bool((await guests[1].get(path)).json()["title"] == "Changed meanwhile")

    await eventually(missed, "a call that failed")
    await eventually(here, "one Varnish's absence is nothing to the other")
    varnishes[1].resume()
    await eventually(there, "told when it is back")


async def test_whoever_is_signed_in_is_never_answered_from_it(
    guest: httpx.AsyncClient, ada: Person
) -> None:
    await kept(guest, f"/users/{ada.id}")
    answer = await guest.get(f"/users/{ada.id}", headers=ada.headers)
    assert not was_kept(answer)
    assert answer.headers["cache-control"] == "private, max-age=0, must-revalidate"
    refused = await guest.get(f"/users/{ada.id}", headers={"Authorization": "Bearer nonsense"})
    assert refused.status_code == 401


async def test_what_somebody_signed_in_got_is_never_kept(
    guest: httpx.AsyncClient, ada: Person
) -> None:
    draft = await post_project(ada, status="draft")
    path = f"/projects/{draft['id']}"
    for _ in range(2):
        assert (await guest.get(path, headers=ada.headers)).status_code == 200
        assert (await guest.get(path)).status_code == 404
        own = await guest.get("/users/me", headers=ada.headers)
        assert own.json()["email"] == ada.email
        assert (await guest.get("/users/me")).status_code == 401
    await guest.get(f"/users/{ada.id}", headers=ada.headers)
    assert not was_kept(await guest.get(f"/users/{ada.id}"))


async def test_no_header_of_one_caller_reaches_another(
    guest: httpx.AsyncClient, ada: Person
) -> None:
    path = f"/users/{ada.id}"
    first = await guest.get(path, headers={"X-Request-Id": "of-the-first-caller"})
    second = await guest.get(path, headers={"X-Request-Id": "of-the-second-caller"})
    third = await guest.get(path, headers={"X-Request-Id": 'ill "formed"'})
    assert [was_kept(answer) for answer in (first, second, third)] == [False, True, True]
    assert first.headers["x-request-id"] == "of-the-first-caller"
    assert second.headers["x-request-id"] == "of-the-second-caller"
    assert third.headers["x-request-id"].startswith("varnish-")
    for answer in (first, second, third):
        for name in (*PER_CALLER, "set-cookie", "surrogate-key", "cache-tag", "xkey"):
            assert name not in answer.headers


async def test_who_came_over_tls_is_answered_apart(guest: httpx.AsyncClient, ada: Person) -> None:
    path, tls = f"/users/{ada.id}", {"X-Forwarded-Proto": "https"}
    answers = [await guest.get(path, headers=tls)]
    answers += [await guest.get(path), await guest.get(path, headers={"Forwarded": "proto=https"})]
    answers += [await guest.get(path, headers=tls)]
    assert [was_kept(answer) for answer in answers] == [False, False, True, True]
    strict = ["strict-transport-security" in answer.headers for answer in answers]
    assert strict == [True, False, False, True]


async def test_one_copy_serves_whatever_coding_is_accepted(
    guest: httpx.AsyncClient, ada: Person
) -> None:
    for _ in range(5):
        await post_project(ada)
    path = f"/projects?client_id={ada.id}"
    whole = await guest.get(path, headers={"Accept-Encoding": "identity"})
    packed = await guest.get(path, headers={"Accept-Encoding": "br, zstd, gzip;q=0.5"})
    assert was_kept(packed)
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in whole.headers
    assert packed.json() == whole.json()


async def test_who_asks_for_the_databases_state_gets_it(
    guest: httpx.AsyncClient, ada: Person
) -> None:
    await kept(guest, f"/users/{ada.id}")
    answer = await guest.get(f"/users/{ada.id}", headers={"Cache-Control": "no-cache"})
    assert not was_kept(answer)


async def test_cookies_are_no_reason_to_ask_again(guest: httpx.AsyncClient, ada: Person) -> None:
    await kept(guest, f"/users/{ada.id}")
    assert was_kept(await guest.get(f"/users/{ada.id}", headers={"Cookie": "theme=dark"}))


@pytest.mark.parametrize(
    ("source", "headers"), [("127.0.0.2", {}), (HOST, {"X-Forwarded-For": "203.0.113.9"})]
)
async def test_only_the_relay_may_have_answers_forgotten(
    guest: httpx.AsyncClient,
    varnishes: list[Varnish],
    ada: Person,
    source: str,
    headers: dict[str, str],
) -> None:
    await kept(guest, f"/users/{ada.id}")
    transport = httpx.AsyncHTTPTransport(local_address=source)
    async with httpx.AsyncClient(transport=transport) as stranger:
        answer = await stranger.request(
            "PURGE", f"{varnishes[0].url}/", headers={"Surrogate-Key": f"user:{ada.id}", **headers}
        )
    assert answer.status_code == 403
    assert was_kept(await guest.get(f"/users/{ada.id}"))


async def test_many_guests_at_once_are_one_request(guest: httpx.AsyncClient, ada: Person) -> None:
    answers = await asyncio.gather(*(guest.get(f"/users/{ada.id}") for _ in range(20)))
    assert {answer.content for answer in answers} == {answers[0].content}
    assert sum(not was_kept(answer) for answer in answers) == 1
