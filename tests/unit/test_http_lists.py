"""Cursors: what one page gives leads on, and nothing else does."""

import base64
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mercenary.db.pages import End
from mercenary.errors import InvalidCursor
from mercenary.http.decoding import QueryDecoder
from mercenary.http.fields import taking_fields
from mercenary.http.lists import _read_cursor, _sign_cursor, _spread, next_link
from mercenary.projects.schemas import Project, ProjectQuery

SCOPE = b'["projects","-created_at",[]]'
LAST = End("2026-11-23T10:00:00.000000Z", 17)
CURSOR = _sign_cursor(LAST, SCOPE)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_a_cursor_reads_back_where_the_page_ended() -> None:
    assert _read_cursor(CURSOR, SCOPE, str) == LAST


@pytest.mark.parametrize(
    ("end", "kind"),
    [(Decimal("9.50"), Decimal), (0.25, float), ("Zoë \x00 \"'", str), (7, int)],
)
def test_the_end_keeps_its_type(end: Any, kind: type[Any]) -> None:
    read = _read_cursor(_sign_cursor(End(end, 1, 9), SCOPE), SCOPE, kind)
    assert read == End(end, 1, 9)
    assert type(read.value) is kind


def test_a_cursor_goes_into_a_url_as_it_is() -> None:
    assert set(CURSOR) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "====", "not a cursor", "ü", "\x00", CURSOR[:-1], CURSOR + "A", CURSOR * 2,
     "A" * 9000],
)  # fmt: skip
def test_a_malformed_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        _read_cursor(cursor, SCOPE, str)


def test_a_cursor_of_other_filters_is_refused() -> None:
    with pytest.raises(InvalidCursor):
        _read_cursor(CURSOR, b'["projects","-created_at",[["status","open"]]]', str)


def test_no_byte_moves_between_the_end_and_the_scope() -> None:
    """A payload and a scope that read alike when joined don't share a signature."""
    with pytest.raises(InvalidCursor):
        _read_cursor(_sign_cursor(LAST, SCOPE + b"x"), SCOPE, str)


@patient
@given(st.data())
def test_any_changed_bit_is_noticed(data: st.DataObject) -> None:
    signed = bytearray(base64.urlsafe_b64decode(CURSOR + "=" * (-len(CURSOR) % 4)))
    place = data.draw(st.integers(0, len(signed) - 1))
    signed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(InvalidCursor):
        _read_cursor(base64.urlsafe_b64encode(signed).decode(), SCOPE, str)


@patient
@given(st.text(max_size=120))
def test_no_text_is_a_cursor_by_chance(text: str) -> None:
    with pytest.raises(InvalidCursor):
        _read_cursor(text, SCOPE, str)


@patient
@given(st.tuples(st.text(max_size=40), st.integers(1, 2**63 - 1)), st.binary(max_size=40))
def test_every_end_reads_back(last: tuple[str, int], scope: bytes) -> None:
    assert _read_cursor(_sign_cursor(End(*last), scope), scope, str) == End(*last)


def test_filters_that_say_the_same_are_the_same() -> None:
    """Order and repetition make no other list, and what is absent doesn't count."""
    assert _spread({"skill": (3, 1, 3), "q": None, "mine": False, "all": True}) == [
        ("skill__0", 1),
        ("skill__1", 3),
        ("all", None),
    ]


@pytest.mark.parametrize(
    "query",
    [
        b"q=a%26b&cursor=old&skill=1&skill=2&fields=id,title&min_budget=5.00",
        b"min_budget=5&skill=2&skill=1&limit=20&fields=title,id,id&q=a%26b&skill=2&page=3",
    ],
)
def test_the_link_keeps_the_other_parameters_however_they_were_spelt(query: bytes) -> None:
    read = QueryDecoder(taking_fields(ProjectQuery, Project)).decode(query)
    link = next_link("/api/v1/projects", read, "new")
    assert link == (
        b"</api/v1/projects?skill=1&skill=2&min_budget=5.00&q=a%26b&fields=id%2Ctitle&cursor=new>;"
        b' rel="next"'
    )
