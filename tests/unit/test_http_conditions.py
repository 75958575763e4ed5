"""Entity tags: what counts as the same state, and what is no tag at all."""

import pytest

from mercenary.errors import Invalid, PreconditionFailed
from mercenary.http.conditions import IfMatch, content_tag, is_known, version_tag

TAG = b'"17-3"'


def if_match(*values: bytes) -> IfMatch:
    return IfMatch.of([(b"host", b"x"), *((b"if-match", value) for value in values)])


def test_a_selection_of_fields_has_a_tag_of_its_own() -> None:
    assert version_tag(17, 3) == TAG
    assert version_tag(17, 3, "a1") == b'"17-3-a1"'


def test_bytes_without_a_version_are_told_apart_by_their_digest() -> None:
    assert content_tag(b"one") == content_tag(b"one")
    assert content_tag(b"one") != content_tag(b"two")


@pytest.mark.parametrize(
    "value",
    [TAG, b'W/"17-3"', b"*", b' "17-3" ', b'"a", "17-3"', b'"a,b" ,W/"17-3",', b'"", "17-3"'],
)
def test_what_the_caller_has_is_found_in_the_list(value: bytes) -> None:
    assert is_known([(b"if-none-match", value)], TAG)


@pytest.mark.parametrize("value", [b"", b'"17-4"', b"17-3", b'"17-3', b'"a,"17-3', b"**", b'"*"'])
def test_what_the_caller_has_not_isnt(value: bytes) -> None:
    assert not is_known([(b"if-none-match", value)], TAG)


def test_several_lines_are_one_list() -> None:
    assert is_known([(b"if-none-match", b'"1-1"'), (b"if-none-match", TAG)], TAG)
    if_match(b'"1-1"', TAG).check(17, 3)


@pytest.mark.parametrize("value", [TAG, b"*", b'"1-1", "17-3"', b'"17-3-a1"', b""])
def test_a_state_that_is_named_may_be_changed(value: bytes) -> None:
    if_match(value).check(17, 3)


def test_without_a_condition_any_state_may_be_changed() -> None:
    IfMatch.of([]).check(17, 3)


@pytest.mark.parametrize(
    "value", [b'"17-2"', b'"17-33"', b'"7-3"', b'W/"17-3"', b'"17-3a"', b'"x"', b'"17-4-a1"']
)
def test_another_state_may_not_and_the_present_one_is_told(value: bytes) -> None:
    with pytest.raises(PreconditionFailed) as failure:
        if_match(value).check(17, 3)
    assert failure.value.headers == {"ETag": '"17-3"'}


@pytest.mark.parametrize("value", [b"17-3", b'"17-3" x', b'"17-3', b"**", b'"a" "b"', b"w/x"])
def test_what_is_no_list_of_tags_is_a_fault(value: bytes) -> None:
    with pytest.raises(Invalid) as failure:
        if_match(value)
    assert [fault.pointer for fault in failure.value.faults] == ["If-Match"]
