"""How long Varnish keeps what it was told to, and what it does when nobody answers it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from mercenary.errors import Unavailable
from tests.cdn.conftest import eventually
from tests.cdn.receiver import Receiver, Reply
from tests.cdn.varnish import Varnish, was_kept
from tests.conftest import server_folder

# A second is the shortest that there is.
SHORT = {"Cache-Control": "public, max-age=0, s-maxage=1, stale-while-revalidate=60"}
NEVER = {"Cache-Control": "public, max-age=0, s-maxage=0, stale-while-revalidate=0"}


@pytest.fixture
async def guest(receiver: Receiver) -> AsyncIterator[httpx.AsyncClient]:
    """A guest of a Varnish whose application is the receiver."""
    with server_folder() as folder:
        varnish = Varnish(folder / "varnish", int(receiver.address.rpartition(":")[2]))
        varnish.child.start()
        try:
            async with httpx.AsyncClient(base_url=varnish.url, timeout=30) as client:
                yield client
        finally:
            varnish.child.stop()


async def test_an_old_answer_is_shown_while_the_next_is_fetched(
    guest: httpx.AsyncClient, receiver: Receiver
) -> None:
    """Also while fetching it fails; and nobody but the first ever waits."""
    receiver.replies = [Reply(body=b"old", headers=SHORT)]
    receiver.replies += [Reply(500, body=b"broken", headers=SHORT), Reply(503, body=b"busy")]
    receiver.replies += [Reply(body=b"new", headers=SHORT)]
    assert (await guest.get("/")).content == b"old"
    shown: list[bytes] = []

    async def renewed() -> bool:
        answer = await guest.get("/")
        assert was_kept(answer)
        shown.append(answer.content)
        return answer.content == b"new"

    await eventually(renewed, "renewed")
    assert set(shown) == {b"old", b"new"}
    assert [request.method for request in receiver.requests] == ["GET"] * 4


@pytest.mark.parametrize(
    "control",
    [
        NEVER["Cache-Control"],
        "private, max-age=0, must-revalidate",
        "private, no-store",
        "no-store",
        "no-cache",
    ],
)
async def test_what_may_not_be_kept_is_not(
    guest: httpx.AsyncClient, receiver: Receiver, control: str
) -> None:
    headers = {"Cache-Control": control, "RateLimit": '"guest";r=9;t=60'}
    receiver.replies = [Reply(body=body, headers=headers) for body in (b"one", b"two")]
    answers = [await guest.get("/") for _ in range(2)]
    assert [answer.content for answer in answers] == [b"one", b"two"]
    assert not any(was_kept(answer) for answer in answers)


async def test_an_application_that_cant_be_reached_is_a_problem(
    guest: httpx.AsyncClient, receiver: Receiver
) -> None:
    await receiver.close()
    answer = await guest.get("/", headers={"X-Request-Id": "of-the-caller"})
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["x-request-id"] == "of-the-caller"
    assert answer.json() == {
        "type": "/problems/unavailable",
        "title": Unavailable.title,
        "status": 503,
        "instance": "of-the-caller",
    }
