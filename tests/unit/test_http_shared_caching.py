"""What shared caches are told: how long an answer lives there, and by which tags it is found."""

from typing import ClassVar

import msgspec
import pytest

from mercenary.http.access import GUEST, Caller, UserId
from mercenary.http.endpoint import OWN, Page, shared
from mercenary.http.shared_caching import Lifetime, cache_control, tag_headers, tags_of
from mercenary.settings import Settings

PUBLIC = b"public, max-age=0, s-maxage=60, stale-while-revalidate=30"
ADA = Caller(UserId(7), "client")
NOTES = shared(tag="notes")


class Note(msgspec.Struct, frozen=True):
    address: ClassVar[str] = "/notes/{id}"
    id: int


class Count(msgspec.Struct, frozen=True):
    id: int


def test_without_a_cdn_no_shared_cache_shows_what_it_hasnt_asked_for() -> None:
    """It would show an old state after a write was answered, and nobody could tell it."""
    told = Lifetime.of(Settings(cdn_seconds=60, cdn_stale_seconds=30)).public
    assert told == b"public, max-age=0, s-maxage=0, stale-while-revalidate=0"


def test_a_cdn_that_is_told_what_to_forget_may_keep_answers() -> None:
    assert Lifetime.of(Settings(cdn="varnish")).public == PUBLIC


def test_only_guests_answers_of_shared_endpoints_are_public() -> None:
    assert cache_control(NOTES, GUEST, PUBLIC) == PUBLIC
    assert cache_control(NOTES, ADA, PUBLIC) == b"private, max-age=0, must-revalidate"
    for caller in (GUEST, ADA):
        assert cache_control(OWN, caller, PUBLIC) == b"private, no-store"


def test_a_resource_is_named_by_its_endpoints_tag_and_the_id_in_the_path() -> None:
    assert tags_of(Note(17), shared(tag="note:{id}"), {"id": "17"}) == ("note:17",)


def test_a_page_is_named_by_its_list_and_each_item_by_its_class() -> None:
    page = Page([Note(3), Note(17)], None)
    assert tags_of(page, NOTES, {}) == ("notes", "note:3", "note:17")
    assert tags_of(Page([], None), NOTES, {}) == ("notes",)


def test_what_has_no_address_has_no_tag_of_its_own() -> None:
    assert tags_of(Page([Count(3)], None), NOTES, {}) == ("notes",)
    assert tags_of(Count(3), shared(tag="stats"), {}) == ("stats",)


@pytest.mark.parametrize("answer", [Note(1), Page([Note(1)], None)])
def test_what_isnt_shared_has_no_tags(answer: object) -> None:
    assert tags_of(answer, OWN, {"id": "1"}) == ()
    assert tag_headers(()) == []


def test_each_kind_of_cdn_reads_the_tags_in_its_own_header() -> None:
    assert tag_headers(("notes", "note:3")) == [
        (b"surrogate-key", b"notes note:3"),
        (b"cache-tag", b"notes,note:3"),
    ]
