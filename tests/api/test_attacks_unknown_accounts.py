"""Whether an address has an account isn't to be learned by signing in: not from the answer, and not
from the time it takes, because the same work is done for both."""

from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from argon2 import extract_parameters

from mercenary.auth.service import authenticator
from tests.conftest import Statements
from tests.factories import Person, sign_up

WRONG = "quite another private word"
# An answer's own, whoever is asked about.
OWN_HEADERS = {"x-request-id", "ratelimit", "x-ratelimit-remaining", "x-ratelimit-reset"}


class Hashes(list[str]):
    """The stored hashes that passwords were verified against."""

    @property
    def cost(self) -> list[Any]:
        """What each took: variant, memory, passes, lanes, lengths."""
        return [extract_parameters(stored) for stored in self]


@pytest.fixture
def hashes(application: object, monkeypatch: pytest.MonkeyPatch) -> Hashes:
    """Records each verification, and lets it be done."""
    recorded = Hashes()
    passwords = authenticator().passwords
    verify = passwords.matches

    def matches(given: str, stored: str) -> bool:
        recorded.append(stored)
        return verify(given, stored)

    monkeypatch.setattr(passwords, "matches", matches)
    return recorded


@pytest.fixture
async def closed(client: httpx.AsyncClient) -> Person:
    """Somebody whose account is closed."""
    person = await sign_up(client)
    assert (await person.request("DELETE", "/users/me")).status_code == 204
    return person


async def sign_in(client: httpx.AsyncClient, email: str, password: str = WRONG) -> httpx.Response:
    return await client.post("/api/v1/auth/login", json={"email": email, "password": password})


def comparable(answer: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """All of an answer but the request's own id and the count of calls."""
    body = answer.content.replace(answer.headers["x-request-id"].encode(), b"")
    headers = {name: value for name, value in answer.headers.items() if name not in OWN_HEADERS}
    return answer.status_code, body, headers


def addresses(known: Person, closed: Person) -> Sequence[str]:
    """Of somebody, of nobody, of nobody any more, and of nobody ever."""
    return (known.email, f"nobody-{known.email}", closed.email, "no address", "", "\x7f@\u0130")


async def test_every_refusal_has_the_same_bytes(client: httpx.AsyncClient, closed: Person) -> None:
    known = await sign_up(client)
    answers = [comparable(await sign_in(client, email)) for email in addresses(known, closed)]
    assert answers[0][0] == 401
    assert answers == [answers[0]] * len(answers)


async def test_every_refusal_costs_the_same_hash_and_the_same_statements(
    client: httpx.AsyncClient, closed: Person, hashes: Hashes, statements: Statements
) -> None:
    known = await sign_up(client)
    hashes.clear()
    costs = []
    for email in addresses(known, closed):
        with statements.recorded():
            assert (await sign_in(client, email)).status_code == 401
        costs.append((hashes.cost, list(statements)))
        hashes.clear()
    assert [len(cost) for cost, _ in costs] == [1] * len(costs)
    assert costs == [costs[0]] * len(costs)


async def test_nobody_signs_in_with_the_password_that_stands_for_nobodys(
    client: httpx.AsyncClient, closed: Person, hashes: Hashes
) -> None:
    """The hash that an unknown address is verified against has a password, too."""
    for email in ("nobody@example.com", closed.email):
        answer = await sign_in(client, email, "nobody has this password")
        assert answer.status_code == 401
        assert authenticator().passwords.matches("nobody has this password", hashes[-1])


async def test_a_closed_accounts_password_is_answered_like_any_other(
    client: httpx.AsyncClient, closed: Person
) -> None:
    right = await sign_in(client, closed.email, "a long and private word")
    wrong = await sign_in(client, closed.email)
    assert comparable(right) == comparable(wrong)


@pytest.mark.parametrize("password", ["", "x", "x" * 128, "\u0130\ud7ff\U0001f600"])
async def test_the_passwords_form_tells_nothing_either(
    client: httpx.AsyncClient, hashes: Hashes, password: str
) -> None:
    known = await sign_up(client)
    hashes.clear()
    answers = [
        comparable(await sign_in(client, email, password))
        for email in (known.email, "nobody@example.com")
    ]
    assert answers[0] == answers[1]
    assert hashes.cost[0] == hashes.cost[1]
