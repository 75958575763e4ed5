"""What a proposal looks like on the wire, coming in and going out."""

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NewType

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mercenary.http.access import UserId
from mercenary.http.lists import ListQuery
from mercenary.http.wire import Amount, Timestamp, text
from mercenary.projects.schemas import ProjectId

ProposalId = NewType("ProposalId", int)
Status = Literal["pending", "accepted", "rejected", "withdrawn"]
CoverLetter = Annotated[str, text(1, 10_000)]
Days = Annotated[int, Meta(ge=1, le=3_650, description="Days of work that the bid covers.")]


class Proposal(msgspec.Struct, frozen=True):
    """A freelancer's bid for a project, in the project's currency."""

    address: ClassVar[str] = "/proposals/{id}"
    example: ClassVar[dict[str, Any]] = {
        "id": 42,
        "project_id": 17,
        "freelancer_id": 8,
        "cover_letter": "I have moved three billing services and kept every invoice.",
        "bid": "1200.00",
        "currency": "USD",
        "estimated_days": 14,
        "status": "pending",
        "created_at": "2026-11-23T10:05:00.000000Z",
        "updated_at": "2026-11-23T10:05:00.000000Z",
        "version": 1,
    }

    id: ProposalId
    project_id: ProjectId
    freelancer_id: UserId
    cover_letter: str
    bid: Decimal
    currency: str
    estimated_days: int
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    version: int


class NewProposal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a freelancer offers."""

    example: ClassVar[dict[str, Any]] = {
        "cover_letter": "I have moved three billing services and kept every invoice.",
        "bid": "1200.00",
        "estimated_days": 14,
    }

    cover_letter: CoverLetter
    bid: Amount
    estimated_days: Days


class ProposalPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change while the proposal is pending; `status` withdrawn takes it back."""

    example: ClassVar[dict[str, Any]] = {"bid": "1100.00", "estimated_days": 12}

    cover_letter: CoverLetter | UnsetType = UNSET
    bid: Amount | UnsetType = UNSET
    estimated_days: Days | UnsetType = UNSET
    status: Literal["withdrawn"] | UnsetType = UNSET


class ProposalQuery(ListQuery):
    """Filters and order of a list of proposals."""

    status: Status | None = None
    sort: Annotated[
        Literal["created_at", "-created_at", "bid", "-bid"],
        Meta(description="Newest first where none is given."),
    ] = "-created_at"
