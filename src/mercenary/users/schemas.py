"""What a user looks like on the wire, coming in and going out."""

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mercenary.http.access import Role, UserId
from mercenary.http.lists import FacetedQuery
from mercenary.http.wire import Amount, Country, Currency, Id, Timestamp, text


class SkillLevel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How well a freelancer commands a skill."""

    example: ClassVar[dict[str, Any]] = {"skill_id": 4, "level": 5}

    skill_id: Id
    level: Annotated[int, Meta(ge=1, le=5, description="1 for a beginner to 5 for a master.")]


MAX_SKILLS = 50
# What an erased user is called from then on.
ERASED_NAME = "Erased user"
SkillLevels = Annotated[
    list[SkillLevel],
    Meta(max_length=MAX_SKILLS, description="All the skills; none is named twice."),
]


class User(msgspec.Struct, frozen=True):
    """A person's profile. `email` and `is_active` are null unless an admin or the user asks.

    An erased account has no e-mail address any more.
    """

    address: ClassVar[str] = "/users/{id}"
    example: ClassVar[dict[str, Any]] = {
        "id": 8,
        "name": "Ada Lovelace",
        "role": "freelancer",
        "headline": "Backends that stay quick",
        "bio": "Ten years of Python and PostgreSQL.",
        "skills": [SkillLevel.example],
        "hourly_rate": "85.00",
        "currency": "USD",
        "country": "GB",
        "created_at": "2026-11-20T08:30:00.000000Z",
        "updated_at": "2026-11-22T17:12:45.120934Z",
        "version": 3,
        "email": None,
        "is_active": None,
    }

    id: UserId
    name: str
    role: Role
    headline: str
    bio: str
    skills: list[SkillLevel]
    hourly_rate: Decimal | None
    currency: str
    country: str | None
    created_at: Timestamp
    updated_at: Timestamp
    version: int
    email: str | None
    is_active: bool | None


class Account(msgspec.Struct, frozen=True):
    """As much of a user as decides whether and as what somebody may act."""

    id: UserId
    role: Role
    is_active: bool
    email: str | None


class UserPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change; a field that is left out stays as it is, null empties it."""

    example: ClassVar[dict[str, Any]] = {
        "headline": "Backends that stay quick",
        "hourly_rate": "85.00",
        "country": "GB",
    }

    name: Annotated[str, text(1, 120)] | UnsetType = UNSET
    headline: Annotated[str, text(0, 160)] | UnsetType = UNSET
    bio: Annotated[str, text(0, 5_000)] | UnsetType = UNSET
    hourly_rate: Amount | UnsetType | None = UNSET
    currency: Currency | UnsetType = UNSET
    country: Country | UnsetType | None = UNSET


class UserQuery(FacetedQuery):
    """Filters and order of the list of users."""

    role: Role | None = None
    skill: Annotated[
        tuple[Id, ...], Meta(max_length=10, description="Skill ids; all of them must be commanded.")
    ] = ()
    country: Country | None = None
    q: (
        Annotated[str, Meta(min_length=1, max_length=200, description="Words to find, or -word.")]
        | None
    ) = None
    sort: Annotated[
        Literal["created_at", "-created_at", "name", "-hourly_rate"] | None,
        Meta(description="Newest first where none is given; with -hourly_rate no rate comes last."),
    ] = None
