"""Eight workers that flood one caller's limit at once, and never get more than it together."""

import pytest
from redis import Redis

from mercenary.limits.lease import FIRST_SHARE, LARGEST_SHARE
from mercenary.local.valkey import EmbeddedValkey
from tests.limits.conftest import WORKERS, Flood, Floods, all_at_once
from tests.limits.flood import AT_ONCE, Order

LIMITS = (1, 7, 100, 10_000)


@pytest.mark.parametrize("limit", LIMITS)
def test_a_flood_is_granted_exactly_the_limit(eight: list[Flood], subject: str, limit: int) -> None:
    outcomes = all_at_once(eight, Order(limit, subject))
    assert sum(granted for granted, _ in outcomes) == limit
    assert all(counted is not None and counted.refused for _, counted in outcomes)
    # The refused stay so, without a trip.
    again = all_at_once(eight, Order(limit, subject))
    assert sum(granted for granted, _ in again) == 0
    for (_, before), (_, after) in zip(outcomes, again, strict=True):
        assert before is not None
        assert after is not None
        assert after.calls == before.calls


def test_workers_that_are_killed_take_no_more_than_their_shares_along(
    floods: Floods, valkey: EmbeddedValkey, subject: str
) -> None:
    workers = floods(valkey.url(), WORKERS)
    for limit, deaths in ((10_000, 3), (100, 2), (7, 1), (1, 1)):
        doomed, workers = workers[:deaths], workers[deaths:]
        for each in doomed:
            each.order(Order(limit, subject, die_after=max(1, limit // (2 * WORKERS))))
        # Fewer than would keep the doomed from reaching their end.
        begun = all_at_once(workers, Order(limit, subject, requests=limit // 20))
        fallen = [each.outcome() for each in doomed]
        assert all(counted is None for _, counted in fallen)
        outcomes = [*begun, *fallen, *all_at_once(workers, Order(limit, subject))]
        granted = sum(granted for granted, _ in outcomes)
        assert limit - deaths * (AT_ONCE + limit // LARGEST_SHARE) <= granted <= limit
        for each in doomed:
            each.stop()


def test_what_idle_workers_hold_is_bounded(eight: list[Flood], subject: str) -> None:
    limit = 1_000
    for each in eight[1:]:
        assert each.asks(limit, subject, requests=1)[0] == 1
    rest, _ = eight[0].asks(limit, subject)
    held = (WORKERS - 1) * (1 + FIRST_SHARE)
    assert limit - held <= rest <= limit - (WORKERS - 1)
    outcomes = all_at_once(eight, Order(limit, subject))
    assert rest + WORKERS - 1 + sum(granted for granted, _ in outcomes) == limit


def test_a_busy_caller_costs_few_trips(eight: list[Flood], subject: str) -> None:
    before = eight[0].asks(1, subject)[1]
    granted, after = eight[0].asks(10_000, subject, requests=5_000)
    assert before is not None
    assert after is not None
    assert granted == 5_000
    # Two in a hundred requests at most, and the first, small shares.
    assert after.calls - before.calls <= 5_000 * LARGEST_SHARE // 10_000 + 10


def test_a_single_request_costs_one_trip(eight: list[Flood], subject: str) -> None:
    before = eight[0].asks(1, subject)[1]
    _, after = eight[0].asks(10_000, subject, requests=1 + FIRST_SHARE)
    assert before is not None
    assert after is not None
    assert after.calls - before.calls == 1


def test_counters_lost_in_the_middle_are_told_anew(
    floods: Floods, mortal: EmbeddedValkey, subject: str
) -> None:
    """Whoever comes by after FLUSHALL tells all that it took; then the limit holds again."""
    first, second = floods(mortal.url(), 2)
    assert first.asks(100, subject, requests=60)[0] == 60
    assert second.asks(100, subject, requests=10)[0] == 10
    Redis.from_url(mortal.url()).flushall()
    assert first.asks(100, subject, requests=10)[0] == 10
    assert second.asks(100, subject)[0] + first.asks(100, subject)[0] == 20
