"""What a skill looks like on the wire, coming in and going out."""

from typing import Annotated, Any, ClassVar, NewType

import msgspec
from msgspec import Meta

from mercenary.http.lists import ListQuery
from mercenary.http.wire import Timestamp, text

SkillId = NewType("SkillId", int)


class Skill(msgspec.Struct, frozen=True):
    """Something that freelancers can do and projects can need."""

    address: ClassVar[str] = "/skills/{id}"
    example: ClassVar[dict[str, Any]] = {
        "id": 4,
        "name": "Python",
        "created_at": "2026-11-20T08:00:00.000000Z",
        "updated_at": "2026-11-20T08:00:00.000000Z",
        "version": 1,
    }

    id: SkillId
    name: str
    created_at: Timestamp
    updated_at: Timestamp
    version: int


class NewSkill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an admin says about a new skill."""

    example: ClassVar[dict[str, Any]] = {"name": "Python"}

    name: Annotated[str, text(1, 80)]


class SkillQuery(ListQuery):
    """What the list of skills is searched for."""

    q: (
        Annotated[
            str,
            Meta(
                min_length=1, max_length=80, description="The beginning of a name, or one like it."
            ),
        ]
        | None
    ) = None
