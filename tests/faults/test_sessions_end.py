"""The end of a session is seen by every worker at once, also while Valkey is down."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from mercenary.local.stack import Stack
from mercenary.local.valkey import EmbeddedValkey
from tests.conftest import server_folder
from tests.factories import PASSWORD, new_account
from tests.faults.conftest import eventually

OTHER = "quite another private word"
WORKERS = 2
Pair = dict[str, Any]


class Api:
    """A stack's API, each request over a connection of its own, so that any worker may answer."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/api/v1"

    def ask(
        self, method: str, path: str, pair: Pair | None = None, json: Any = None
    ) -> httpx.Response:
        """Ask once, in the name of whoever the pair of tokens was given to."""
        headers = {"Authorization": f"Bearer {pair['access_token']}"} if pair else {}
        return httpx.request(method, self.url + path, headers=headers, json=json, timeout=30)

    def everywhere(self, method: str, path: str, pair: Pair) -> set[int]:
        """The statuses that the workers answer with, asked until each of them has answered."""
        statuses: set[int] = set()
        answered: set[str] = set()

        def all_answered() -> bool:
            answer = self.ask(method, path, pair)
            statuses.add(answer.status_code)
            # The id that a worker gives to a request begins with the worker's own part.
            answered.add(answer.headers["x-request-id"].partition("-")[0])
            return len(answered) == WORKERS

        eventually(all_answered, "every worker has answered")
        return statuses

    def health(self) -> str:
        """The state of everything: `degraded` without Valkey."""
        answer = httpx.get(self.url.removesuffix("/api/v1") + "/health", timeout=30)
        return str(answer.json()["status"])

    def sign_up(self) -> tuple[dict[str, Any], Pair]:
        """An account and its first pair of tokens, which every worker has seen once."""
        account = new_account()
        assert self.ask("POST", "/auth/register", json=account).status_code == 201
        return account, self.sign_in(account)

    def sign_in(self, account: dict[str, Any]) -> Pair:
        """One more session, which every worker has seen once, and so remembers its token."""
        given = {"email": account["email"], "password": PASSWORD}
        pair: Pair = self.ask("POST", "/auth/login", json=given).json()
        assert self.everywhere("GET", "/users/me", pair) == {200}
        return pair

    def refresh(self, pair: Pair) -> httpx.Response:
        """Change a refresh token."""
        return self.ask("POST", "/auth/refresh", json={"refresh_token": pair["refresh_token"]})


@dataclass
class World:
    """Two workers that know everybody's tokens, and no Valkey any more."""

    api: Api
    people: dict[str, tuple[dict[str, Any], Pair, Pair]]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """People with two sessions each, whose tokens each worker has seen; then Valkey is killed."""
    with server_folder() as folder:
        valkey = EmbeddedValkey(folder)
        valkey.start()
        with Stack(workers=WORKERS, environment={"CACHE_CONFIG": valkey.cache_config}) as stack:
            api = Api(stack.url)
            people = {}
            for name in ("leaver", "changer", "closer", "robbed"):
                account, first = api.sign_up()
                people[name] = (account, first, api.sign_in(account))
            assert api.health() == "ok"
            assert valkey.child.pid is not None
            os.kill(valkey.child.pid, signal.SIGKILL)
            eventually(lambda: api.health() == "degraded", "Valkey is away")
            yield World(api, people)
            assert api.health() == "degraded"
        valkey.stop()


def test_signing_out_ends_the_session_on_every_worker(world: World) -> None:
    _, ended, other = world.people["leaver"]
    assert world.api.ask("POST", "/auth/logout", ended).status_code == 204
    assert world.api.everywhere("GET", "/users/me", ended) == {401}
    assert world.api.everywhere("GET", "/projects", ended) == {401}
    assert world.api.refresh(ended).status_code == 401
    assert world.api.everywhere("GET", "/users/me", other) == {200}


def test_another_password_ends_the_other_sessions_on_every_worker(world: World) -> None:
    account, kept, ended = world.people["changer"]
    change = {"current": PASSWORD, "new": OTHER}
    assert world.api.ask("POST", "/auth/password", kept, json=change).status_code == 204
    assert world.api.everywhere("GET", "/users/me", ended) == {401}
    assert world.api.refresh(ended).status_code == 401
    assert world.api.everywhere("GET", "/users/me", kept) == {200}
    old = {"email": account["email"], "password": PASSWORD}
    assert world.api.ask("POST", "/auth/login", json=old).status_code == 401


def test_closing_an_account_ends_every_session_on_every_worker(world: World) -> None:
    account, first, second = world.people["closer"]
    assert world.api.ask("DELETE", "/users/me", first).status_code == 204
    for pair in (first, second):
        assert world.api.everywhere("GET", "/users/me", pair) == {401}
        assert world.api.refresh(pair).status_code == 401
    given = {"email": account["email"], "password": PASSWORD}
    assert world.api.ask("POST", "/auth/login", json=given).status_code == 401


def test_a_refresh_token_that_comes_again_ends_its_family_on_every_worker(world: World) -> None:
    _, stolen, other = world.people["robbed"]
    fresh: Pair = world.api.refresh(stolen).json()
    assert world.api.everywhere("GET", "/users/me", fresh) == {200}
    assert world.api.refresh(stolen).status_code == 401
    for pair in (stolen, fresh):
        assert world.api.everywhere("GET", "/users/me", pair) == {401}
    assert world.api.refresh(fresh).status_code == 401
    assert world.api.everywhere("GET", "/users/me", other) == {200}
