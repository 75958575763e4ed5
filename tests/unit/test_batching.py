"""A batch serves callers as if each had been served alone, only cheaper."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from mercenary.batching import Batch, Lanes
from mercenary.errors import Overloaded, Unavailable
from tests.unit.desk import Desk, batch_of, outcomes, turns, until

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


async def test_what_is_asked_in_one_turn_travels_together() -> None:
    desk = Desk()
    batch = batch_of(desk)
    assert await outcomes(*(batch.ask(n) for n in range(5))) == [0, -1, -2, -3, -4]
    assert desk.runs == [[0, 1, 2, 3, 4]]


async def test_what_is_asked_during_a_run_travels_with_the_next() -> None:
    desk = Desk(held=True)
    batch = batch_of(desk, parallel=1)
    first = batch.ask(1)
    await desk.busy(1)
    later = [batch.ask(2), batch.ask(3)]
    await turns()
    assert desk.runs == [[1]]
    desk.release()
    assert await outcomes(first, *later) == [-1, -2, -3]
    assert desk.runs == [[1], [2, 3]]


async def test_a_run_is_no_larger_than_its_limit_and_the_longest_waiting_go_first() -> None:
    desk = Desk()
    batch = batch_of(desk, max_size=3, parallel=1)
    await outcomes(*(batch.ask(n) for n in range(8)))
    assert desk.runs == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_equal_asks_that_wait_together_are_one() -> None:
    desk = Desk()
    batch = batch_of(desk, share_equal=True)
    assert await outcomes(*(batch.ask(n) for n in (1, 2, 1, 1))) == [-1, -2, -1, -1]
    assert desk.runs == [[1, 2]]
    assert (batch.measures.asks, batch.measures.shared) == (4, 2)


async def test_equal_asks_are_run_one_by_one_unless_told_otherwise() -> None:
    desk = Desk()
    batch = batch_of(desk)
    assert await outcomes(batch.ask(1), batch.ask(1)) == [-1, -1]
    assert desk.runs == [[1, 1]]


async def test_an_ask_never_joins_a_run_that_has_begun() -> None:
    desk = Desk(held=True)
    batch = batch_of(desk, share_equal=True)
    before = batch.ask(1)
    await desk.busy(1)
    after = batch.ask(1)
    await desk.busy(2)
    desk.release()
    assert await outcomes(before, after) == [-1, -1]
    assert desk.runs == [[1], [1]]


async def test_more_may_not_wait_than_the_limit_and_places_are_given_back() -> None:
    desk = Desk(held=True)
    batch = batch_of(desk, parallel=1, max_waiting=2)
    first = batch.ask(1)
    await desk.busy(1)
    waiting = [batch.ask(2), batch.ask(3)]
    with pytest.raises(Overloaded):
        batch.ask(4)
    waiting.pop().cancel()
    waiting.append(batch.ask(5))
    desk.release()
    assert await outcomes(first, *waiting) == [-1, -2, -5]
    assert batch.measures.rejected == 1


async def test_an_equal_ask_needs_no_place_of_its_own() -> None:
    desk = Desk()
    batch = batch_of(desk, share_equal=True, max_waiting=1)
    assert await outcomes(batch.ask(1), batch.ask(1)) == [-1, -1]


async def test_a_batch_with_nothing_to_do_keeps_no_timer() -> None:
    batch = batch_of(Desk(), deadline=0.01)
    await outcomes(batch.ask(1))
    await until(lambda: batch._sweeper is None)


async def test_a_run_takes_its_asks_in_the_batch_s_order_and_answers_the_right_callers() -> None:
    desk = Desk()
    batch = batch_of(desk, order=lambda ask: ask)
    assert await outcomes(*(batch.ask(n) for n in (3, 1, 2))) == [-3, -1, -2]
    assert desk.runs == [[1, 2, 3]]


async def test_no_more_run_at_once_than_there_are_lanes() -> None:
    lanes = Lanes(2)
    desks = [Desk(held=True) for _ in range(3)]
    asked = [batch_of(desk, lanes=lanes).ask(1) for desk in desks]
    await desks[1].busy(1)
    await turns()
    assert [len(desk.runs) for desk in desks] == [1, 1, 0]
    assert lanes.busy == 2
    for desk in desks:
        desk.release()
    assert await outcomes(*asked) == [-1, -1, -1]


async def test_a_busy_batch_lets_the_others_have_their_turn() -> None:
    lanes = Lanes(1)
    served: list[str] = []

    def recording(name: str) -> Batch[int, int]:
        async def run(asks: Sequence[int]) -> Sequence[int]:
            served.append(name)
            return asks

        return Batch(run, name=name, lanes=lanes, max_size=1)

    greedy, modest = recording("greedy"), recording("modest")
    await outcomes(*(greedy.ask(n) for n in range(4)), *(modest.ask(n) for n in range(2)))
    assert served == ["greedy", "greedy", "modest", "greedy", "modest", "greedy"]


async def test_a_batch_whose_callers_have_left_hands_its_turn_on() -> None:
    lanes = Lanes(1)
    desk = Desk(held=True)
    first = batch_of(desk, lanes=lanes).ask(1)
    await desk.busy(1)
    abandoned, next_one = batch_of(desk, lanes=lanes).ask(2), batch_of(desk, lanes=lanes).ask(3)
    await turns()
    abandoned.cancel()
    desk.release()
    assert await outcomes(first, next_one) == [-1, -3]
    assert desk.runs == [[1], [3]]


async def test_a_run_sees_nothing_of_the_context_of_its_callers() -> None:
    request_id: ContextVar[str] = ContextVar("request_id", default="none")
    seen: list[str] = []

    async def run(asks: Sequence[int]) -> Sequence[int]:
        seen.append(request_id.get())
        return asks

    token = request_id.set("the first caller's")
    await outcomes(Batch(run, name="test", lanes=Lanes(1)).ask(1))
    request_id.reset(token)
    assert seen == ["none"]


async def test_a_closed_batch_serves_what_waits_and_refuses_the_rest() -> None:
    desk = Desk(held=True)
    batch = batch_of(desk, parallel=1)
    asked = [batch.ask(1)]
    await desk.busy(1)
    asked.append(batch.ask(2))
    batch.close()
    with pytest.raises(Unavailable):
        batch.ask(3)
    drained = asyncio.ensure_future(batch.drain())
    await turns()
    assert not drained.done()
    desk.release()
    await drained
    assert [one.result() for one in asked] == [-1, -2]


async def test_sizes_waits_and_run_times_are_measured() -> None:
    batch = batch_of(Desk(), max_size=3, parallel=1)
    await outcomes(*(batch.ask(n) for n in range(4)))
    measures = batch.measures
    assert (measures.sizes.total, measures.sizes.count) == (4, 2)
    assert measures.sizes.buckets[:3] == [0, 1, 1]  # one of 1, one of 2 to 3
    assert (measures.waits.count, measures.run_times.count) == (4, 2)
    assert 0 <= measures.run_times.total < 5


@pytest.mark.parametrize(
    "limits", [{"max_size": 0}, {"max_waiting": 0}, {"parallel": 0}, {"deadline": 0}]
)
def test_a_batch_without_room_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="positive"):
        batch_of(Desk(), **limits)


def test_there_is_at_least_one_lane() -> None:
    with pytest.raises(ValueError, match="lane"):
        Lanes(0)
