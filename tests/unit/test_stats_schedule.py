"""When statistics are refreshed: soon enough, and never too often."""

from hypothesis import given
from hypothesis import strategies as st

from mercenary.stats.schedule import Schedule

EVERY, CHANGES, LEAST = 300.0, 10, 30.0
TENTH = 10.0
# Whole seconds until something happens, how much changes, how long a refresh takes and if it does.
STEPS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 15), st.integers(1, 60), st.booleans()),
    max_size=60,
)


def schedule(now: float = 0.0) -> Schedule:
    return Schedule(now, every=EVERY, changes=CHANGES, least=LEAST)


def refreshed(at: float, took: float = 1.0) -> Schedule:
    """A schedule after a refresh, with nothing changed since."""
    made = schedule()
    made.begin(at)
    made.end(at + took, done=True)
    return made


def test_a_refresher_that_starts_doesnt_know_what_has_changed() -> None:
    assert schedule(7.0).due() == 7.0 + EVERY


def test_nothing_is_due_while_nothing_changes() -> None:
    assert refreshed(100.0).due() is None


def test_one_change_is_shown_after_the_usual_time() -> None:
    made = refreshed(100.0)
    made.count(1)
    assert made.due() == 100.0 + EVERY


def test_many_changes_are_shown_early_and_not_too_early() -> None:
    made = refreshed(100.0)
    made.count(CHANGES - 1)
    assert made.due() == 100.0 + EVERY
    made.count(1)
    assert made.due() == 100.0 + LEAST


def test_a_long_refresh_is_followed_by_nine_times_its_length_of_rest() -> None:
    made = refreshed(100.0, took=50.0)
    made.count(CHANGES)
    assert made.due() == 150.0 + 450.0


def test_what_changes_during_a_refresh_may_not_be_in_it() -> None:
    made = schedule()
    made.begin(100.0)
    made.count(1)
    made.end(101.0, done=True)
    assert made.due() == 100.0 + EVERY


def test_a_refresh_that_came_to_nothing_is_tried_again() -> None:
    made = refreshed(100.0)
    made.count(CHANGES)
    made.begin(130.0)
    assert made.due() is None
    made.end(131.0, done=False)
    assert made.due() == 130.0 + LEAST


@given(STEPS)
def test_refreshes_are_never_too_close_and_no_change_is_forgotten(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    """By a clock that begins each refresh when it is due."""
    made, now = schedule(), 0.0
    begun, rested, unseen = 0.0, 0.0, 1
    for seconds, changes, took, done in steps:
        end = now + seconds
        while (due := made.due()) is not None and due <= end:
            assert due >= begun + LEAST
            assert due >= rested
            assert due <= max(begun + EVERY, rested)
            now = begun = max(due, now)
            made.begin(now)
            now += took
            made.end(now, done=done)
            rested = begun + TENTH * took
            unseen = 0 if done else unseen
            end = max(end, now)
        now = end
        made.count(changes)
        unseen += changes
        assert (made.due() is None) == (unseen == 0)
