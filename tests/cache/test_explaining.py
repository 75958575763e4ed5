"""Why an answer is kept or isn't, told from what every part of the cache says."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mercenary import settings
from mercenary.app import ENDPOINTS
from mercenary.auth.tokens import mint
from mercenary.cache.announcer import Announcer
from mercenary.cache.clocks import Clocks
from mercenary.cache.entries import Want
from mercenary.cache.shelf import Envelope, Shelf
from mercenary.cache.valkey import Valkey
from mercenary.http.router import Router
from mercenary.local.valkey import EmbeddedValkey
from mercenary.ops.explaining import Explainer, Explanation

PROJECT = "/api/v1/projects/17"
PATIENCE = 10.0


class Scene:
    """A Valkey that hears a relay, a host's clocks, and an explainer of both."""

    def __init__(self, valkey: Valkey, clocks: Clocks) -> None:
        self.clocks = clocks
        self.relay = Announcer(valkey, Clocks())
        self.shelf = Shelf(valkey)
        self.router = Router(ENDPOINTS, settings.get().max_json_depth)
        self._explainer = Explainer(settings.get(), self.router, self.shelf, clocks)

    async def explain(self, target: str = PROJECT, token: str | None = None) -> Explanation:
        return await self._explainer.explain(target, token=token)

    async def why(self, target: str = PROJECT, token: str | None = None) -> str:
        return " ".join((await self.explain(target, token)).why)

    async def say(self, *tags: str) -> None:
        """Announce a change and give the word; the host hears it."""
        told = [(Clocks().fresh(), tags)] if tags else []
        await self.relay.announce(told, since=None)  # learns what Valkey's clock shows
        since = time.monotonic()
        await self.relay.announce([], since=since)
        self.clocks.hear(since)

    async def put(self, key: bytes | None = None) -> Want[Any]:
        """Keep an answer for the project in Valkey, as a worker does."""
        invocation, values = self.router.resolve("GET", PROJECT)
        scope = {"headers": [], "path": PROJECT, "path_values": values, "query_string": b""}
        want = invocation.shared(scope, values).want
        found = await self.shelf.look(want)
        assert found is not None
        assert found.shown is not None
        envelope = Envelope(key or want.key, found.shown, time.time(), 0.01, b"kept")
        await self.shelf.put(want, envelope, seconds=300, leased=False)
        return want


@pytest.fixture
async def scene(valkey: EmbeddedValkey, tmp_path: Path) -> AsyncIterator[Scene]:
    way = Valkey(valkey.url(), seconds=PATIENCE)
    await way.ask(lambda redis: redis.flushall())
    scene = Scene(way, Clocks(tmp_path / "clocks"))
    await scene.say()
    yield scene
    await scene.shelf.close()
    await way.close()


def token(user_id: int, role: str) -> str:
    return mint(settings.get(), user_id, role, 1)


async def test_what_nobody_has_filled_isnt_there(scene: Scene) -> None:
    found = await scene.explain("/api/v1/projects?limit=5&status=open")
    assert found.shared
    assert found.endpoint == "list_projects: GET /api/v1/projects"
    assert found.key == "GET /api/v1/projects status=open limit=5"
    assert found.tags == ("projects",)
    assert "nobody has filled it" in " ".join(found.why)


async def test_what_is_there_and_counts_is_told_with_its_age_and_lifetime(scene: Scene) -> None:
    await scene.put()
    found = await scene.explain()
    assert found.key == "GET /api/v1/projects/{id} id=17"
    assert found.valkey is not None
    assert found.valkey.there
    assert found.valkey.against is None
    assert found.valkey.left is not None
    assert 0 < found.valkey.left <= 300
    assert "counts" in " ".join(found.why)


async def test_a_change_is_named_by_its_tag(scene: Scene) -> None:
    await scene.put()
    await scene.say("project:17", "projects")
    assert "project:17 changed after it was filled" in await scene.why()


async def test_a_purge_of_everything_is_named(scene: Scene) -> None:
    await scene.put()
    await scene.say("*")
    assert "everything (a purge) changed after it was filled" in await scene.why()


async def test_another_epoch_is_named(scene: Scene) -> None:
    await scene.put()
    await scene.shelf.valkey.ask(lambda redis: redis.hset("cache:clocks", "run", "another"))
    await scene.relay.announce([], since=time.monotonic())
    assert "epoch that is over" in await scene.why()


async def test_an_entry_of_another_key_is_named(scene: Scene) -> None:
    await scene.put(b"another")
    assert "another key's" in await scene.why()


async def test_without_the_relays_word_nothing_counts(scene: Scene) -> None:
    want = await scene.put()
    await scene.shelf.valkey.ask(lambda redis: redis.delete("cache:word"))
    assert "doesn't have the relay's word" in await scene.why()
    assert (await scene.shelf.inspect(want)).word is None


async def test_a_host_that_hears_nothing_is_told_of(scene: Scene, tmp_path: Path) -> None:
    deaf = Explainer(settings.get(), scene.router, scene.shelf, Clocks(tmp_path / "others"))
    found = await deaf.explain(PROJECT)
    assert found.word_age is None
    assert "doesn't hear the relay's word" in " ".join(found.why)


async def test_a_change_under_way_and_one_that_isnt_announced_are_named(scene: Scene) -> None:
    stamp = scene.clocks.fresh()
    scene.clocks.begin(["project:17"], stamp)
    assert "project:17 is being changed right now" in await scene.why()
    scene.clocks.settle(["project:17"], stamp)
    found = await scene.explain()
    assert found.clocks is not None
    assert found.clocks[1].moved is not None
    assert "the relay hasn't announced it yet" in " ".join(found.why)
    async with asyncio.timeout(10):
        while "hasn't announced" in await scene.why():
            await scene.say()


@pytest.mark.parametrize(
    ("target", "role", "words"),
    [
        ("/api/v1/users/me", None, "depends on who asks"),
        ("/api/v1/users/me/proposals", None, "depends on who asks"),
        ("/health", None, "no part"),
        (PROJECT, "admin", "Admins get an answer of their own"),
        ("/api/v1/projects?client_id=7", "client", "answered differently"),
        ("/api/v1/projects?status=draft", "client", "answered differently"),
        ("/api/v1/projects?limit=500", None, "refused (422"),
        ("/api/v1/nothing", None, "refused (404"),
        (PROJECT + "/proposals/x", None, "refused (404"),
    ],
)
async def test_what_is_never_shared_says_why(
    scene: Scene, target: str, role: str | None, words: str
) -> None:
    found = await scene.explain(target, None if role is None else token(7, role))
    assert not found.shared
    assert found.valkey is None
    assert words in " ".join(found.why)


async def test_a_token_that_isnt_good_is_refused(scene: Scene) -> None:
    assert "refused (401" in await scene.why(PROJECT, "no-token")


async def test_users_who_see_what_guests_see_share_it(scene: Scene) -> None:
    found = await scene.explain("/api/v1/projects?client_id=8", token(7, "client"))
    assert found.shared
    assert found.caller == "user 7, client"
