"""Which tags can be purged: those under which something may be kept."""

import pytest

from mercenary.app import ENDPOINTS
from mercenary.ops.purging import Tags, UnknownTag

TAGS = Tags(ENDPOINTS)


def test_the_forms_come_from_the_endpoints() -> None:
    assert {"project:ID", "projects", "user:ID", "users", "sessions:ID"} <= set(TAGS.forms)


@pytest.mark.parametrize("tag", ["*", "projects", "project:17", "skills", "sessions:3"])
def test_a_tag_of_a_known_form_is_taken(tag: str) -> None:
    TAGS.check(tag)


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "project",
        "project:",
        "project:x",
        "project:01",
        "projects:1",
        " projects",
        "**",
        f"user:{2**63}",
    ],
)
def test_any_other_is_refused(tag: str) -> None:
    with pytest.raises(UnknownTag):
        TAGS.check(tag)
