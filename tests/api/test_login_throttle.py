"""Guessing passwords: what slows it, whom it doesn't touch, and what it tells nobody."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import httpx
import pytest

from mercenary import settings
from mercenary.app import Application
from mercenary.auth.throttle import KEPT_ALONE, Throttle
from mercenary.cache import valkey as cache
from mercenary.cache.valkey import Valkey
from mercenary.errors import TooManyRequests
from mercenary.local.valkey import EmbeddedValkey
from mercenary.settings import Settings
from tests.conftest import Statements
from tests.factories import PASSWORD, new_account

OF_PAIR, OF_ADDRESS = 3, 8
WRONG = "the wrong one of course"
_numbers = count(1)


@pytest.fixture(scope="module")
async def application(database_uri: str, valkey: EmbeddedValkey) -> AsyncIterator[Application]:
    """The application, in which a few wrong passwords are too many."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CACHE_CONFIG", valkey.cache_config)
        environment.setenv("SQLALCHEMY_DATABASE_URI", database_uri)
        environment.setenv("MERCENARY_LOGIN_FAILURES", str(OF_PAIR))
        environment.setenv("MERCENARY_LOGIN_FAILURES_BY_ADDRESS", str(OF_ADDRESS))
        environment.setenv("MERCENARY_VALKEY_TIMEOUT", "10")
        settings.get.cache_clear()
        application = Application(settings.get(), database_uri)
        await application.start()
        await cache.current().ask(lambda redis: redis.flushall())
        yield application
        await application.stop()
    settings.get.cache_clear()


def new_address() -> str:
    """An address that nobody has called from."""
    number = next(_numbers)
    return f"203.0.{number // 256}.{number % 256}"


class Place:
    """Somewhere to sign in from."""

    def __init__(self, application: Application, address: str | None = None) -> None:
        self.address = address or new_address()
        transport = httpx.ASGITransport(application, client=(self.address, 4711))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://mercenary")

    async def sign_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        return await self.client.post(
            "/api/v1/auth/login", json={"email": email, "password": password}
        )

    async def statuses(self, email: str, password: str, times: int) -> list[int]:
        return [(await self.sign_in(email, password)).status_code for _ in range(times)]


@pytest.fixture
async def account(application: Application) -> str:
    """The address of an account that exists."""
    given = new_account()
    answer = await Place(application).client.post("/api/v1/auth/register", json=given)
    assert answer.status_code == 201
    return str(given["email"])


@pytest.fixture
def here(application: Application) -> Place:
    return Place(application)


def said(answer: httpx.Response) -> tuple[int, object, list[str]]:
    """What an answer tells, but for its number and the seconds left."""
    problem = answer.json()
    del problem["instance"]
    problem["detail"] = "".join(letter for letter in problem["detail"] if not letter.isdigit())
    return answer.status_code, problem, sorted(answer.headers)


async def test_after_some_wrong_passwords_the_right_one_is_refused_too(
    here: Place, account: str
) -> None:
    assert await here.statuses(account, WRONG, OF_PAIR) == [401] * OF_PAIR
    answer = await here.sign_in(account)
    assert answer.status_code == 429
    assert answer.json()["type"] == "/problems/rate-limited"
    assert 0 < int(answer.headers["retry-after"]) <= 900


async def test_the_owner_signs_in_from_elsewhere_while_a_stranger_floods(
    application: Application, here: Place, account: str
) -> None:
    stop = asyncio.Event()
    seen: list[int] = []

    async def flood() -> None:
        while not stop.is_set():
            seen.append((await here.sign_in(account, WRONG)).status_code)

    flooding = [asyncio.create_task(flood()) for _ in range(4)]
    for _ in range(5):
        assert (await Place(application).sign_in(account)).status_code == 200
    home = Place(application)
    assert await home.statuses(account, PASSWORD, 5) == [200] * 5
    stop.set()
    await asyncio.gather(*flooding)
    assert seen.count(401) == OF_PAIR
    assert set(seen) == {401, 429}


async def test_known_and_unknown_accounts_are_answered_alike(
    application: Application, account: str, statements: Statements
) -> None:
    told = []
    for email in (account, "nobody@example.com"):
        place = Place(application)
        answers, work = [], []
        for _ in range(OF_PAIR + 2):
            with statements.recorded():
                answers.append(said(await place.sign_in(email, WRONG)))
            work.append(list(statements))
        told.append((answers, work))
    assert told[0] == told[1]


async def test_attempts_at_once_get_no_further_than_one_after_another(
    here: Place, account: str
) -> None:
    answers = await asyncio.gather(*(here.sign_in(account, WRONG) for _ in range(30)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (OF_PAIR, 30 - OF_PAIR)


async def test_a_right_password_starts_the_count_anew(here: Place, account: str) -> None:
    for _ in range(3):
        assert await here.statuses(account, WRONG, OF_PAIR - 1) == [401] * (OF_PAIR - 1)
        assert (await here.sign_in(account)).status_code == 200


async def test_right_passwords_never_count(application: Application, here: Place) -> None:
    for _ in range(2):
        given = new_account()
        await Place(application).client.post("/api/v1/auth/register", json=given)
        assert await here.statuses(given["email"], PASSWORD, OF_ADDRESS) == [200] * OF_ADDRESS


async def test_letters_in_capitals_make_no_other_account(here: Place, account: str) -> None:
    spellings = [account.upper(), account.lower(), account.title(), account]
    statuses = [(await here.sign_in(each, WRONG)).status_code for each in spellings]
    assert statuses == [401] * OF_PAIR + [429]


async def test_an_address_that_tries_many_accounts_has_to_wait(
    application: Application, here: Place, account: str
) -> None:
    for number in range(OF_ADDRESS):
        answer = await here.sign_in(f"guess{number}@example.com", WRONG)
        assert answer.status_code == 401
    # Right or wrong, known or unknown: it tells nothing any more.
    wrong = await here.sign_in(account, WRONG)
    right = await here.sign_in(account)
    unknown = await here.sign_in("nobody@example.com", WRONG)
    assert said(wrong) == said(right) == said(unknown)
    assert right.status_code == 429
    assert (await Place(application).sign_in(account)).status_code == 200


async def test_who_has_signed_in_from_there_before_gets_in(here: Place, account: str) -> None:
    assert (await here.sign_in(account)).status_code == 200
    for number in range(OF_ADDRESS + 1):
        await here.sign_in(f"guess{number}@example.com", WRONG)
    assert (await here.sign_in(account)).status_code == 200
    # That somebody has is nothing that a wrong password learns.
    wrong = await here.sign_in(account, WRONG)
    assert said(wrong) == said(await here.sign_in("nobody@example.com", WRONG))
    assert wrong.status_code == 429


async def test_neighbours_in_an_ipv6_network_are_one_address(
    application: Application, account: str
) -> None:
    network = f"2001:db8:5:{next(_numbers):x}"
    statuses = [
        (await Place(application, f"{network}::{host:x}").sign_in(account, WRONG)).status_code
        for host in range(OF_PAIR + 1)
    ]
    assert statuses == [401] * OF_PAIR + [429]


async def test_changing_the_password_is_no_way_around(here: Place, account: str) -> None:
    token = (await here.sign_in(account)).json()["access_token"]
    change = {"current": WRONG, "new": "another long and private word"}
    statuses = [
        (
            await here.client.post(
                "/api/v1/auth/password",
                json=change,
                headers={"Authorization": f"Bearer {token}"},
            )
        ).status_code
        for _ in range(OF_PAIR + 1)
    ]
    assert statuses == [422] * OF_PAIR + [429]
    assert (await here.sign_in(account)).status_code == 429


async def test_attempts_that_came_to_nothing_do_not_count(application: Application) -> None:
    throttle = Throttle(Settings(login_failures=2, login_failures_by_address=2))
    address = new_address()
    for _ in range(5):
        await (await throttle.begin("ada@example.com", address)).withdraw()
    await (await throttle.begin("ada@example.com", address)).settle(right=False)


async def test_a_refusal_ends_with_its_window(application: Application) -> None:
    throttle = Throttle(Settings(login_failures=1, login_window=1))
    address = new_address()
    await (await throttle.begin("ada@example.com", address)).settle(right=False)
    waits = []
    async with asyncio.timeout(10):
        while True:
            try:
                await throttle.begin("ada@example.com", address)
            except TooManyRequests as error:
                waits.append(error.headers["Retry-After"])
                await asyncio.sleep(0.02)
            else:
                break
    assert set(waits) == {"1"}
    assert throttle.measures.refused == len(waits)


@pytest.fixture
async def without_valkey(application: Application, tmp_path: Path) -> AsyncIterator[None]:
    """No Valkey answers while the test runs."""
    before = cache.current()
    cache.use(Valkey(f"unix://{tmp_path}/nobody.sock", seconds=1))
    yield
    await cache.current().close()
    cache.use(before)


@pytest.mark.usefixtures("without_valkey")
async def test_without_valkey_each_worker_counts_to_its_share() -> None:
    throttle = Throttle(Settings(login_failures=6, login_failures_by_address=12, limit_workers=3))
    here, elsewhere = new_address(), new_address()
    home = await throttle.begin("ada@example.com", here)
    await home.settle(right=True)
    for _ in range(2):
        await (await throttle.begin("bob@example.com", here)).settle(right=False)
    with pytest.raises(TooManyRequests):
        await throttle.begin("bob@example.com", here)
    await (await throttle.begin("bob@example.com", elsewhere)).settle(right=True)
    for number in range(2):
        await (await throttle.begin(f"guess{number}@example.com", here)).settle(right=False)
    # The address is past its share; who has signed in there isn't shut out.
    late = await throttle.begin("cyd@example.com", here)
    with pytest.raises(TooManyRequests):
        await late.settle(right=True)
    await (await throttle.begin("ada@example.com", here)).settle(right=True)
    assert throttle.measures.alone == throttle.measures.refused + 7


@pytest.mark.usefixtures("without_valkey")
async def test_without_valkey_sign_ins_go_on(here: Place, account: str) -> None:
    assert (await here.sign_in(account)).status_code == 200
    assert (await here.sign_in(account, WRONG)).status_code == 401


@pytest.mark.usefixtures("without_valkey")
async def test_without_valkey_a_worker_remembers_a_bounded_number() -> None:
    throttle = Throttle(Settings(login_failures=1, limit_workers=1))
    for number in range(KEPT_ALONE):
        await (await throttle.begin(f"{number}@example.com", f"2001:db8:{number:x}::")).settle(
            right=bool(number % 2)
        )
    assert KEPT_ALONE <= throttle.remembered <= 2 * KEPT_ALONE
