"""What a project looks like on the wire, coming in and going out."""

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NewType

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mercenary.http.access import UserId
from mercenary.http.lists import FacetedQuery
from mercenary.http.wire import Amount, Currency, Id, Timestamp, text

ProjectId = NewType("ProjectId", int)
Status = Literal["draft", "open", "in_progress", "completed", "cancelled"]
Title = Annotated[str, text(3, 200)]
Description = Annotated[str, text(1, 20_000)]
SkillIds = Annotated[list[Id], Meta(max_length=20, description="Skills the work needs.")]


# No index of PostgreSQL's holds ranks, so every match has to be ranked: 10 to 20 µs each.
RANKED_MATCHES = 1_000


class Project(msgspec.Struct, frozen=True):
    """A piece of work that a client wants done.

    `proposal_count` and `lowest_bid` are of the proposals that weren't withdrawn; without any, the
    lowest bid is null. Nobody but the client is told who made which bid.
    """

    address: ClassVar[str] = "/projects/{id}"
    example: ClassVar[dict[str, Any]] = {
        "id": 17,
        "client_id": 3,
        "client_name": "Grace Hopper",
        "title": "Rewrite the billing service",
        "description": "Twelve endpoints in Python, two of them slow. Tests are there.",
        "budget": "1500.00",
        "currency": "USD",
        "status": "open",
        "skill_ids": [4, 9],
        "proposal_count": 2,
        "lowest_bid": "1200.00",
        "created_at": "2026-11-23T10:00:00.000000Z",
        "updated_at": "2026-11-23T14:30:00.000000Z",
        "version": 3,
    }

    id: ProjectId
    client_id: UserId
    client_name: str
    title: str
    description: str
    budget: Decimal
    currency: str
    status: Status
    skill_ids: list[int]
    proposal_count: int
    lowest_bid: Decimal | None
    created_at: Timestamp
    updated_at: Timestamp
    version: int


class Tally(msgspec.Struct, frozen=True):
    """How many proposals a project has that weren't withdrawn, and the lowest bid among them."""

    proposal_count: int
    lowest_bid: Decimal | None


class NewProject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client says about a new project."""

    example: ClassVar[dict[str, Any]] = {
        "title": "Rewrite the billing service",
        "description": "Twelve endpoints in Python, two of them slow. Tests are there.",
        "budget": "1500.00",
        "currency": "USD",
        "status": "open",
        "skill_ids": [4, 9],
    }

    title: Title
    description: Description
    budget: Amount
    currency: Currency
    status: Literal["draft", "open"] = "draft"
    skill_ids: SkillIds = []


class ProjectPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change; a field that is left out stays as it is."""

    example: ClassVar[dict[str, Any]] = {"budget": "1800.00", "status": "open"}

    title: Title | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    budget: Amount | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    skill_ids: SkillIds | UnsetType = UNSET


class ProjectQuery(FacetedQuery):
    """Filters and order of the list of projects."""

    status: Status | None = None
    skill: Annotated[
        tuple[Id, ...], Meta(max_length=10, description="Skill ids; all of them must be asked for.")
    ] = ()
    client_id: Id | None = None
    min_budget: Amount | None = None
    max_budget: Amount | None = None
    q: (
        Annotated[str, Meta(min_length=1, max_length=200, description="Words to find, or -word.")]
        | None
    ) = None
    sort: Annotated[
        Literal["created_at", "-created_at", "budget", "-budget", "-relevance"] | None,
        Meta(
            description="Newest first where none is given. -relevance needs q, and ranks and lists "
            f"the newest {RANKED_MATCHES:,} matches."
        ),
    ] = None
