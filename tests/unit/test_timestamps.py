"""Times on the wire have one form, whatever the moment."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercenary.http.wire import rfc3339


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_is_27_characters_and_can_be_read_back(moment: datetime) -> None:
    text = rfc3339(moment)
    assert len(text) == 27
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == moment


@pytest.mark.parametrize("microsecond", [0, 1, 100_000, 999_999])
def test_microseconds_are_always_there(microsecond: int) -> None:
    moment = datetime(2026, 11, 23, 10, 0, 0, microsecond, tzinfo=UTC)
    assert rfc3339(moment) == f"2026-11-23T10:00:00.{microsecond:06d}Z"
