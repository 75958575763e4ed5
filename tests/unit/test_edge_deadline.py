"""A request's time: one timer ends those that are late, and nothing else."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from mercenary import sojourn
from mercenary.edge.deadline import Deadline
from mercenary.errors import DeadlineExceeded
from tests.unit.desk import until

HTTP: Scope = {"type": "http"}


class App:
    """Holds every request until the test lets it go, and keeps how each came out."""

    def __init__(self) -> None:
        self.begun = 0
        self.gate = asyncio.get_running_loop().create_future()
        self.layer = Deadline(self.hold)

    async def hold(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        await asyncio.shield(self.gate)

    async def request(self, seconds: float) -> None:
        sojourn.enter(sojourn.Sojourn(asyncio.get_running_loop().time() + seconds))
        await self.layer(HTTP, _receive, _send)

    def begin(self, *seconds: float) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.request(each)) for each in seconds]


async def _receive() -> Any: ...


async def _send(message: Any) -> None: ...


@pytest.fixture
async def app() -> App:
    return App()


async def outcomes(tasks: list[asyncio.Task[None]]) -> list[Any]:
    async with asyncio.timeout(5):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_late_requests_are_told_so_and_others_go_on(app: App) -> None:
    late, patient = app.begin(0.01, 0.01), app.begin(60)
    assert [type(each) for each in await outcomes(late)] == [DeadlineExceeded] * 2
    assert not patient[0].done()
    app.gate.set_result(None)
    assert await outcomes(patient) == [None]


async def test_who_is_cancelled_by_others_stays_cancelled(app: App) -> None:
    tasks = app.begin(60)
    await until(lambda: app.begun == 1)
    tasks[0].cancel()
    assert [type(each) for each in await outcomes(tasks)] == [asyncio.CancelledError]


async def test_who_is_late_and_cancelled_by_others_stays_cancelled(app: App) -> None:
    tasks = app.begin(0.0)
    await until(lambda: app.begun == 1)
    app.layer._sweep(asyncio.get_running_loop())
    tasks[0].cancel()
    assert [type(each) for each in await outcomes(tasks)] == [asyncio.CancelledError]


async def test_a_task_that_was_late_once_is_no_worse_off(app: App) -> None:
    """Servers may carry many requests in one task."""

    async def two_requests() -> None:
        with pytest.raises(DeadlineExceeded):
            await app.request(0.0)
        await asyncio.sleep(0)
        app.gate.set_result(None)
        await app.request(60)

    assert await outcomes([asyncio.create_task(two_requests())]) == [None]


async def test_nothing_is_watched_when_nothing_runs(app: App) -> None:
    tasks = app.begin(60)
    app.gate.set_result(None)
    await outcomes(tasks)
    app.layer._sweep(asyncio.get_running_loop())
    assert not app.layer._watching
