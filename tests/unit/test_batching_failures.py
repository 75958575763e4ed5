"""What goes wrong with one ask is no other caller's business."""

import asyncio
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mercenary.batching import Batch, Lanes, _Caller
from mercenary.errors import Conflict, DeadlineExceeded, NotFound, Unavailable
from mercenary.sojourn import Sojourn, current, enter
from tests.unit.desk import Desk, PoisonError, batch_of, outcomes, turns, until

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


async def test_an_exception_among_the_outcomes_fails_its_ask_alone() -> None:
    async def run(asks: Sequence[int]) -> Sequence[int | Exception]:
        return [Conflict(f"{ask}") if ask == 2 else ask for ask in asks]

    batch = Batch(run, name="test", lanes=Lanes(1))
    one, two, three = await outcomes(*(batch.ask(n) for n in (1, 2, 3)))
    assert (one, three) == (1, 3)
    assert isinstance(two, Conflict)
    assert two.detail == "2"
    assert batch.measures.failed == 1


async def test_one_culprit_among_many_is_found_by_halving() -> None:
    desk = Desk()
    desk.poison = {5}
    batch = batch_of(desk)
    answers = await outcomes(*(batch.ask(n) for n in range(16)))
    assert [n for n, answer in enumerate(answers) if answer != -n] == [5]
    assert isinstance(answers[5], PoisonError)
    # log2(16) halvings, each with two halves to run, after the first run.
    assert (len(desk.runs), batch.measures.splits) == (1 + 2 * 4, 4)
    assert (batch.measures.runs, batch.measures.failed) == (9, 1)


async def test_halves_stay_in_the_lane_of_their_run() -> None:
    desk, other = Desk(), Desk()
    desk.poison = {0}
    lanes = Lanes(1)
    failing, waiting = batch_of(desk, lanes=lanes), batch_of(other, lanes=lanes)
    runs_before: list[int] = []
    asked = [failing.ask(n) for n in range(4)]
    served = waiting.ask(9)
    served.add_done_callback(lambda _: runs_before.append(len(desk.runs)))
    await outcomes(*asked, served)
    await failing.drain()
    assert runs_before == [len(desk.runs)] == [5]
    assert lanes.busy == 0


async def test_all_fail_at_once_when_halves_would_fare_no_better() -> None:
    desk = Desk()
    desk.poison = {1}
    batch = batch_of(desk, splits=lambda error: not isinstance(error, PoisonError))
    failed = await outcomes(*(batch.ask(n) for n in range(4)))
    assert [type(error) for error in failed] == [PoisonError] * 4
    assert desk.runs == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    "error", [NotFound("user", 7), KeyError("x"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no")]
)
async def test_callers_that_fail_together_get_an_exception_each(error: Exception) -> None:
    async def run(asks: Sequence[int]) -> Sequence[int | Exception]:
        raise error from OSError("the cause")

    batch = Batch(run, name="test", lanes=Lanes(1), share_equal=True, splits=lambda _: False)

    async def deep(asked: "asyncio.Future[int]", depth: int) -> int:
        return await (deep(asked, depth - 1) if depth else asked)

    failed = await outcomes(*(asyncio.ensure_future(deep(batch.ask(1), n)) for n in range(4)))
    assert len({id(one) for one in failed}) == 4
    assert {type(one) for one in failed} == {type(error)}
    assert {str(one) for one in failed} == {str(error)}
    assert {str(one.__cause__) for one in failed} == {"the cause"}
    frames = [sum(f.name == "deep" for f in traceback.extract_tb(e.__traceback__)) for e in failed]
    assert frames == [1, 2, 3, 4]


async def test_a_copied_problem_keeps_all_it_carries() -> None:
    async def run(asks: Sequence[int]) -> Sequence[int | Exception]:
        return [NotFound("user", 7)]

    batch = Batch(run, name="test", lanes=Lanes(1))
    (failed,) = await outcomes(batch.ask(1))
    assert vars(failed) == vars(NotFound("user", 7))


@pytest.mark.parametrize("wrong", [[], [1], [1, 2, 3]])
async def test_a_wrong_number_of_outcomes_fails_all_and_is_not_tried_again(
    wrong: list[int],
) -> None:
    calls = 0

    async def run(asks: Sequence[int]) -> Sequence[int]:
        nonlocal calls
        calls += 1
        return wrong

    batch = Batch(run, name="test", lanes=Lanes(1))
    failed = await outcomes(batch.ask(1), batch.ask(2))
    assert [type(error) for error in failed] == [RuntimeError] * 2
    assert calls == 1


async def broken_splits(asks: Sequence[int]) -> Sequence[int]:
    raise PoisonError


async def nothing(asks: Sequence[int]) -> Any:
    return None


async def interrupted(asks: Sequence[int]) -> Sequence[int]:
    raise asyncio.CancelledError


def unordered(ask: int) -> Any:
    raise PoisonError


def undecided(error: Exception) -> bool:
    raise KeyError("undecided")


@pytest.mark.parametrize(
    ("run", "options", "expected"),
    [
        (broken_splits, {"splits": undecided}, KeyError),
        (nothing, {}, TypeError),
        (nothing, {"order": unordered}, PoisonError),
        (interrupted, {}, Unavailable),
    ],
)
async def test_nobody_is_left_waiting_when_a_run_breaks_in_a_strange_way(
    run: Callable[[Sequence[int]], Any], options: dict[str, Any], expected: type[Exception]
) -> None:
    lanes = Lanes(1)
    batch: Batch[int, int] = Batch(run, name="test", lanes=lanes, **options)
    failed = await outcomes(batch.ask(1), batch.ask(2))
    assert [type(error) for error in failed] == [expected] * 2
    await batch.drain()
    assert lanes.busy == 0


async def test_a_cancelled_caller_takes_its_waiting_ask_with_it() -> None:
    desk = Desk(held=True)
    batch = batch_of(desk, parallel=1)
    first = batch.ask(1)
    await desk.busy(1)
    gone, stays = batch.ask(2), batch.ask(3)
    gone.cancel()
    assert batch.waiting == 1
    desk.release()
    assert await outcomes(first, stays) == [-1, -3]
    assert desk.runs == [[1], [3]]
    assert batch.measures.abandoned == 1


async def test_a_cancelled_caller_leaves_the_ask_to_those_that_share_it() -> None:
    desk = Desk()
    batch = batch_of(desk, share_equal=True)
    gone, stays = batch.ask(1), batch.ask(1)
    gone.cancel()
    assert await outcomes(stays) == [-1]
    assert desk.runs == [[1]]


async def test_the_last_of_those_that_share_takes_the_ask_along() -> None:
    desk = Desk()
    batch = batch_of(desk, share_equal=True)
    for asked in [batch.ask(1), batch.ask(1)]:
        asked.cancel()
    assert batch.waiting == 0
    assert await outcomes(batch.ask(1)) == [-1]
    assert desk.runs == [[1]]


async def test_a_cancelled_caller_does_not_disturb_the_run() -> None:
    desk = Desk(held=True)
    batch = batch_of(desk)

    async def caller(ask: int) -> int:
        return await batch.ask(ask)

    gone, stays = asyncio.ensure_future(caller(1)), asyncio.ensure_future(caller(2))
    await desk.busy(1)
    gone.cancel()
    desk.release()
    cancelled, answer = await outcomes(gone, stays)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert answer == -2
    assert desk.runs == [[1, 2]]


async def test_an_ask_whose_callers_have_gone_runs_on_in_halves() -> None:
    desk = Desk(held=True)
    desk.poison = {2}
    batch = batch_of(desk)
    gone, stays = batch.ask(1), batch.ask(2)
    await desk.busy(1)
    gone.cancel()
    desk.release()
    (failed,) = await outcomes(stays)
    assert isinstance(failed, PoisonError)
    assert desk.runs == [[1, 2], [1], [2]]


async def test_a_failure_nobody_waits_for_is_not_logged() -> None:
    desk = Desk(held=True)
    desk.poison = {1, 2}
    batch = batch_of(desk)
    batch.ask(1)
    asked = asyncio.ensure_future(outcomes(batch.ask(2)))
    await desk.busy(1)
    asked.cancel()
    desk.release()
    await batch.drain()
    assert batch.measures.failed == 1
    assert asked.cancelled()


async def test_a_caller_hears_of_its_deadline_while_the_run_goes_on() -> None:
    desk = Desk(held=True)
    lanes = Lanes(1)
    batch = batch_of(desk, lanes=lanes, deadline=0.01, parallel=1)
    running = batch.ask(1)
    await desk.busy(1)
    waiting = batch.ask(2)
    late = await outcomes(running, waiting)
    assert [type(error) for error in late] == [DeadlineExceeded] * 2
    assert (batch.waiting, lanes.busy) == (0, 1)
    desk.release()
    await batch.drain()
    assert desk.runs == [[1]]
    assert (batch.measures.expired, batch.measures.failed) == (2, 0)


async def test_each_of_those_that_share_has_a_deadline_of_its_own() -> None:
    desk = Desk(held=True)
    batch = batch_of(desk, share_equal=True, deadline=0.5, parallel=1)
    blocker = batch.ask(1)
    await desk.busy(1)
    early, late = batch.ask(2), batch.ask(2)
    for asked in (blocker, early):
        assert isinstance(asked, _Caller)
        asked.until -= 0.5
    assert [type(one) for one in await outcomes(blocker, early)] == [DeadlineExceeded] * 2
    assert not late.done()
    desk.release()
    assert await outcomes(late) == [-2]


async def test_a_caller_whose_sojourn_ends_earlier_hears_of_it_earlier() -> None:
    desk = Desk(held=True)
    batch = batch_of(desk, parallel=1)
    patient = batch.ask(1)
    await desk.busy(1)
    hurried = asked_within(0.001, batch, 2)
    batch._sweep_later(asyncio.get_running_loop())  # the batch's own deadline is far away
    await until(lambda: asyncio.get_running_loop().time() >= hurried.until)
    batch._sweep(asyncio.get_running_loop())
    assert isinstance(hurried.exception(), DeadlineExceeded)
    assert not patient.done()
    desk.release()
    assert await outcomes(patient) == [-1]
    await batch.drain()
    assert desk.runs == [[1]]


async def test_what_nobody_waits_for_any_more_is_not_run() -> None:
    desk = Desk()
    batch = batch_of(desk)
    late, in_time = asked_within(-1, batch, 1), batch.ask(2)
    assert [type(one) for one in await outcomes(late, in_time)] == [DeadlineExceeded, int]
    alone = asked_within(-1, batch, 3)
    assert [type(one) for one in await outcomes(alone)] == [DeadlineExceeded]
    assert desk.runs == [[2]]
    assert (batch.measures.expired, batch.measures.failed) == (2, 0)
    await batch.drain()


async def test_a_run_has_the_latest_deadline_of_its_callers() -> None:
    deadlines: list[float] = []

    async def run(asks: Sequence[int]) -> Sequence[int]:
        stay = current()
        assert stay is not None
        deadlines.append(stay.deadline)
        return asks

    batch = Batch(run, name="test", lanes=Lanes(1))
    asked = [asked_within(seconds, batch, seconds) for seconds in (3, 5, 4)]
    await outcomes(*asked)
    assert deadlines == [max(one.until for one in asked)] == [asked[1].until]


async def test_the_time_in_the_queue_is_accounted_to_whoever_asked() -> None:
    desk = Desk(held=True)
    batch = batch_of(desk, parallel=1)
    first = asked_within(5, batch, 1)
    await desk.busy(1)
    second = asked_within(5, batch, 2)
    second.since -= 2
    desk.release()
    await outcomes(first, second)
    assert first.sojourn is not None
    assert second.sojourn is not None
    assert 0 <= first.sojourn.queued < 1
    assert 2 <= second.sojourn.queued < 3


def asked_within(seconds: float, batch: Batch[int, int], ask: int) -> _Caller[int]:
    """Ask in the name of somebody who waits no longer."""
    enter(Sojourn(asyncio.get_running_loop().time() + seconds))
    asked = batch.ask(ask)
    enter(None)
    assert isinstance(asked, _Caller)
    return asked


async def test_draining_ends_when_the_last_caller_leaves() -> None:
    batch = batch_of(Desk())
    asked = batch.ask(1)
    drained = asyncio.ensure_future(batch.drain())
    await turns()
    asked.cancel()
    async with asyncio.timeout(5):
        await drained
