"""Proposals: bidding, choosing, withdrawing."""

from mercenary.db.projection import Fields
from mercenary.errors import Conflict, Forbidden, NotFound
from mercenary.http.access import Caller, role, signed_in
from mercenary.http.conditions import IfMatch
from mercenary.http.endpoint import SENSITIVE, Created, Page, endpoint
from mercenary.projects.schemas import ProjectId
from mercenary.proposals import service
from mercenary.proposals.schemas import (
    NewProposal,
    Proposal,
    ProposalId,
    ProposalPatch,
    ProposalQuery,
)


@endpoint(
    "POST",
    "/projects/{id}/proposals",
    access=role("freelancer"),
    idempotent=True,
    problems=(NotFound, Conflict),
)
async def submit_proposal(caller: Caller, id: ProjectId, body: NewProposal) -> Created[Proposal]:
    """Bid for a project while it is open. A freelancer bids once for a project."""
    return Created(await service.submit(service.Submission(caller.user_id, id, body)))


@endpoint("GET", "/projects/{id}/proposals", access=signed_in, problems=(NotFound, Forbidden))
async def list_project_proposals(
    caller: Caller, id: ProjectId, query: ProposalQuery, fields: Fields
) -> Page[Proposal]:
    """List the bids for a project: all of them to its owner, to a freelancer the own one."""
    return await service.list_for_project(caller, id, query, fields)


@endpoint("GET", "/users/me/proposals", access=signed_in)
async def list_own_proposals(
    caller: Caller, query: ProposalQuery, fields: Fields
) -> Page[Proposal]:
    """List the bids that you have made."""
    return await service.list_own(caller, query, fields)


@endpoint("GET", "/proposals/{id}", access=signed_in, problems=(NotFound,))
async def show_proposal(caller: Caller, id: ProposalId, fields: Fields) -> Proposal:
    """Show a proposal to its freelancer, the project's owner, or an admin."""
    return await service.visible_proposal(caller, id, fields)


@endpoint("PATCH", "/proposals/{id}", access=signed_in, problems=(NotFound, Forbidden, Conflict))
async def change_proposal(
    caller: Caller, id: ProposalId, body: ProposalPatch, if_match: IfMatch
) -> Proposal:
    """Change your proposal while it is pending, or withdraw it."""
    return await service.revise(caller, id, body, if_match)


@endpoint(
    "POST",
    "/proposals/{id}/accept",
    access=signed_in,
    rate=SENSITIVE,
    idempotent=True,
    problems=(NotFound, Forbidden, Conflict),
)
async def accept_proposal(caller: Caller, id: ProposalId) -> Proposal:
    """Hire the freelancer: the other bids are rejected and the project begins.

    Of many callers at once exactly one wins; the others get a conflict.
    """
    return await service.decide(caller, id, "accepted")


@endpoint(
    "POST",
    "/proposals/{id}/reject",
    access=signed_in,
    idempotent=True,
    problems=(NotFound, Forbidden, Conflict),
)
async def reject_proposal(caller: Caller, id: ProposalId) -> Proposal:
    """Turn a proposal down."""
    return await service.decide(caller, id, "rejected")
