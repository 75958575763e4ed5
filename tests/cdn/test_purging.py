"""A CDN is told what to forget: by its documented calls, at least once, and nobody waits for it."""

import asyncio
import time
from email.utils import formatdate
from typing import Any

import httpx
import pytest
import structlog.testing

from mercenary.cdn import purger
from tests.cdn.conftest import Relayed, Relaying, all_tags, eventually
from tests.cdn.receiver import Receiver, Reply
from tests.factories import sign_up

SECRET = "secret-token-of-a-cdn"
SERVICE, ZONE = "SU1Z0isxPaozGVKXdv0eY", "023e105f4ecef8ad9ca31a8372d0c353"


def fastly(receiver: Receiver) -> dict[str, Any]:
    return {
        "cdn": "fastly",
        "fastly_service": SERVICE,
        "fastly_token": SECRET,
        "fastly_address": receiver.address,
    }


def cloudflare(receiver: Receiver) -> dict[str, Any]:
    return {
        "cdn": "cloudflare",
        "cloudflare_zone": ZONE,
        "cloudflare_token": SECRET,
        "cloudflare_address": receiver.address,
    }


def varnish(*addresses: str) -> dict[str, Any]:
    return {"cdn": "varnish", "varnish_addresses": addresses}


async def until_told(relayed: Relayed, times: int = 1) -> None:
    """Wait until everything was told so often."""

    async def told() -> bool:
        return all(row[2] >= times for row in await relayed.waiting())

    await eventually(told, "told")


async def until_over(relayed: Relayed) -> None:
    """Wait until nothing is to be told any more."""

    async def over() -> bool:
        return not await relayed.waiting()

    await eventually(over, "nothing waits")


async def test_fastly_is_told_by_its_bulk_purge(relaying: Relaying, receiver: Receiver) -> None:
    relayed = await relaying(**fastly(receiver))
    await relayed.keep("projects", "project:17")
    async with relayed.running():
        await until_told(relayed)
    (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", f"/service/{SERVICE}/purge")
    assert request.headers["fastly-key"] == SECRET
    assert request.headers["content-type"] == "application/json"
    assert "fastly-soft-purge" not in request.headers
    assert request.json == {"surrogate_keys": ["project:17", "projects"]}


async def test_fastly_forgets_everything(relaying: Relaying, receiver: Receiver) -> None:
    relayed = await relaying(**fastly(receiver))
    await relayed.keep("*", "project:17")
    async with relayed.running():
        await until_told(relayed)
    (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", f"/service/{SERVICE}/purge_all")
    assert request.headers["fastly-key"] == SECRET
    assert request.body == b""


async def test_cloudflare_is_told_by_tags(relaying: Relaying, receiver: Receiver) -> None:
    relayed = await relaying(**cloudflare(receiver))
    await relayed.keep("users", "user:3")
    async with relayed.running():
        await until_told(relayed)
    (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", f"/client/v4/zones/{ZONE}/purge_cache")
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.json == {"tags": ["user:3", "users"]}


async def test_cloudflare_forgets_everything(relaying: Relaying, receiver: Receiver) -> None:
    relayed = await relaying(**cloudflare(receiver))
    await relayed.keep("*")
    async with relayed.running():
        await until_told(relayed)
    assert [request.json for request in receiver.requests] == [{"purge_everything": True}]


async def test_each_varnish_is_told(relaying: Relaying, receiver: Receiver) -> None:
    async with Receiver.listening() as other:
        relayed = await relaying(**varnish(receiver.address, other.address))
        await relayed.keep("project:17", "projects")
        async with relayed.running():
            await until_told(relayed)
        for told in (receiver, other):
            (request,) = told.requests
            assert (request.method, request.path) == ("PURGE", "/")
            assert request.headers["surrogate-key"] == "project:17 projects"


@pytest.mark.parametrize(
    ("kind", "most", "key"), [(fastly, 256, "surrogate_keys"), (cloudflare, 100, "tags")]
)
async def test_no_call_holds_more_tags_than_it_may(
    relaying: Relaying, receiver: Receiver, kind: Any, most: int, key: str
) -> None:
    tags = [f"project:{number}" for number in range(1, 601)]
    relayed = await relaying(**kind(receiver))
    await relayed.keep(*tags)
    async with relayed.running():
        await until_told(relayed)
    told = [request.json[key] for request in receiver.requests]
    assert all_tags(told) == sorted(tags)
    assert max(map(len, told)) <= most


@pytest.mark.usefixtures("at_once")
async def test_what_is_refused_is_told_again_until_it_is_taken(
    relaying: Relaying, receiver: Receiver
) -> None:
    refused = b'{"success": false, "errors": [{"code": 1107, "message": "no such zone"}]}'
    receiver.replies = [Reply(500), Reply(429), Reply(403), Reply(body=refused), Reply(body=b"?")]
    relayed = await relaying(**cloudflare(receiver))
    await relayed.keep("projects")
    with structlog.testing.capture_logs() as logged:
        async with relayed.running():
            await until_over(relayed)
    assert [request.json for request in receiver.requests] == [{"tags": ["projects"]}] * 8
    (measured,) = [each.measures for each in relayed.purging.purgers]
    assert (measured.calls, measured.failures, measured.tags) == (8, 5, 3)
    # Each change of state once.
    assert [(one["event"], one.get("reason")) for one in logged] == [
        ("cdn cannot be told", "status 500"),
        ("cdn is back", None),
    ]


@pytest.mark.parametrize("form", ["seconds", "date", "fastly's own"])
async def test_whoever_asks_to_wait_is_left_alone_for_so_long(
    relaying: Relaying, receiver: Receiver, form: str
) -> None:
    ends = time.time() + 600
    headers = {
        "seconds": {"Retry-After": "600"},
        "date": {"Retry-After": formatdate(ends, usegmt=True)},
        "fastly's own": {"Fastly-RateLimit-Reset": str(int(ends))},
    }[form]
    receiver.replies = [Reply(429, headers=headers)]
    relayed = await relaying(**fastly(receiver))
    await relayed.keep("projects")
    async with relayed.running():

        async def put_off() -> bool:
            ((_, _, _, attempts, due),) = await relayed.waiting()
            return bool(attempts == 1 and due > 300)

        await eventually(put_off, "put off")
        await relayed.keep("users")
    assert len(receiver.requests) == 1


async def test_a_call_has_a_deadline(relaying: Relaying, receiver: Receiver) -> None:
    receiver.replies = [Reply(held=asyncio.Event())]
    relayed = await relaying(**varnish(receiver.address), cdn_call_seconds=0.05)
    await relayed.keep("projects")
    with structlog.testing.capture_logs() as logged:
        async with relayed.running():
            await until_told(relayed)
    assert logged[0]["reason"] == "it took too long"


async def test_nobody_waits_while_a_cdn_is_told(relaying: Relaying, receiver: Receiver) -> None:
    """And what changes again meanwhile isn't taken for told."""
    answer = asyncio.Event()
    receiver.replies = [Reply(held=answer)]
    relayed = await relaying(**varnish(receiver.address), lock_timeout=0.5)
    await relayed.keep("projects")
    async with relayed.running():

        async def asked() -> bool:
            return len(receiver.requests) == 1

        await eventually(asked, "asked")
        await relayed.keep("projects", "project:17")
        answer.set()
        await until_told(relayed)
    told = [request.headers["surrogate-key"].split() for request in receiver.requests]
    assert all_tags(told) == ["project:17", "projects", "projects"]


@pytest.mark.usefixtures("at_once")
async def test_a_wish_is_told_again(relaying: Relaying, receiver: Receiver) -> None:
    """What was on its way to the CDN when it was told to forget is forgotten by the next call."""
    relayed = await relaying(**varnish(receiver.address))
    await relayed.keep("projects")
    async with relayed.running():
        await until_over(relayed)
    assert [request.headers["surrogate-key"] for request in receiver.requests] == ["projects"] * 3


async def test_the_next_call_waits_until_no_old_state_is_shown(
    relaying: Relaying, receiver: Receiver
) -> None:
    relayed = await relaying(**varnish(receiver.address))
    await relayed.keep("projects")
    async with relayed.running():
        await until_told(relayed)
        ((_, _, _, attempts, due),) = await relayed.waiting()
    assert attempts == 0
    assert due > 0


@pytest.mark.usefixtures("at_once")
async def test_several_relays_share_the_work(relaying: Relaying, receiver: Receiver) -> None:
    tags = [f"project:{number}" for number in range(1, 1001)]
    one = await relaying(**cloudflare(receiver))
    other = await relaying(**cloudflare(receiver))
    await one.keep(*tags)
    async with one.running(), other.running():
        await until_over(one)
    told = all_tags(request.json["tags"] for request in receiver.requests)
    assert told == sorted(tags * 3)


async def test_only_what_guests_may_see_is_told(relaying: Relaying, receiver: Receiver) -> None:
    relayed = await relaying(**varnish(receiver.address))
    await relayed.keep(
        *("sessions:8", "proposal:3", "proposals", "project:17\r\nX: y", "project:", "PROJECT:1"),
        *("project:17 project:18", "", "project:1:2", "skill:9", "*"),
    )
    assert await relayed.waiting_tags() == {"skill:9", "*"}


async def test_what_is_handed_on_again_is_told_once(
    relaying: Relaying, client: httpx.AsyncClient
) -> None:
    """While Valkey is away the rows stay where they are, and the CDN is told all the same."""
    relayed = await relaying(**varnish("http://127.0.0.1:1"))
    ada = await sign_up(client)
    for _ in range(3):
        await relayed.relay(fails=True)
    kept = [row[:2] for row in await relayed.waiting()]
    assert kept == [(f"user:{ada.id}", 1), ("users", 1)]
    await relayed.relay()
    assert [row[:2] for row in await relayed.waiting()] == kept
    await ada.patch("/users/me", {"headline": "Another"})
    await relayed.relay()
    assert [row[:2] for row in await relayed.waiting()] == [(f"user:{ada.id}", 2), ("users", 2)]


async def test_without_a_cdn_nothing_is_kept(relaying: Relaying) -> None:
    relayed = await relaying()
    await relayed.keep("projects")
    assert await relayed.waiting() == []
    async with relayed.running():
        pass


async def test_a_tag_waits_once_however_often_it_changes(relaying: Relaying) -> None:
    relayed = await relaying(**varnish("http://127.0.0.1:1"))
    for _ in range(5):
        await relayed.keep("projects", "project:17")
    assert [row[:2] for row in await relayed.waiting()] == [("project:17", 5), ("projects", 5)]


@pytest.mark.usefixtures("at_once")
async def test_too_many_tags_become_everything(
    relaying: Relaying, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a CDN that is away for long is bounded in rows, and soon up to date again."""
    monkeypatch.setattr(purger, "MOST_WAITING", 10)
    held = asyncio.Event()
    receiver.replies = [Reply(503), Reply(503, held=held)]
    relayed = await relaying(**varnish(receiver.address))
    await relayed.keep(*(f"project:{number}" for number in range(1, 200)))
    async with relayed.running():

        async def everything() -> bool:
            return await relayed.waiting_tags() == {"*"}

        await eventually(everything, "one row for all")
        held.set()
        await until_told(relayed)
    assert receiver.requests[-1].headers["surrogate-key"] == "*"


async def test_what_a_former_target_was_to_be_told_goes(
    relaying: Relaying, receiver: Receiver
) -> None:
    former = await relaying(**varnish("http://127.0.0.1:1"))
    await former.keep("projects")
    now = await relaying(**varnish(receiver.address))
    async with now.running():
        await until_over(now)
    assert receiver.requests == []


@pytest.mark.parametrize("kind", [fastly, cloudflare])
@pytest.mark.usefixtures("at_once")
async def test_a_token_is_never_logged(relaying: Relaying, receiver: Receiver, kind: Any) -> None:
    receiver.replies = [Reply(401, body=SECRET.encode()), Reply(200, body=b"\xff")]
    relayed = await relaying(**kind(receiver))
    await relayed.keep("projects")
    with structlog.testing.capture_logs() as logged:
        async with relayed.running():
            await until_told(relayed)
    targets = [each._target for each in relayed.purging.purgers]
    shown = repr((logged, targets, [target.call(["projects"]) for target in targets]))
    assert logged
    assert SECRET not in shown
