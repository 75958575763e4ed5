"""The rules of proposals: who bids, who sees the bids, who is hired.

Whoever changes a proposal holds its project's row first. So one lock, taken in the order of the
projects' ids, stands for all bids of a project, of 100 acceptances at once one wins, and the tally
that the project shows of its proposals (`tallies.py`) is exact.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict, replace
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.batches import read_batch, write_batch
from mercenary.db.listing import Listing
from mercenary.db.outbox import Event, record
from mercenary.db.projection import Fields
from mercenary.errors import Conflict, Forbidden, NotFound, ProblemError
from mercenary.http.access import Caller, UserId
from mercenary.http.conditions import ANY_STATE, IfMatch
from mercenary.http.endpoint import Page
from mercenary.http.lists import read_page
from mercenary.projects import service as projects
from mercenary.projects.schemas import Project, ProjectId, Tally
from mercenary.proposals import queries
from mercenary.proposals.schemas import (
    NewProposal,
    Proposal,
    ProposalId,
    ProposalPatch,
    ProposalQuery,
)
from mercenary.proposals.tallies import tallied

find_proposal = read_batch(queries.select_proposals)
proposal_list = Listing(queries.select_proposal_pages)
# Enough of a project to tell whose it is and who may see it.
_OWNED: Fields = ("client_id",)


class Submission(msgspec.Struct, frozen=True):
    """A freelancer's ask to bid for a project."""

    freelancer_id: UserId
    project_id: ProjectId
    new: NewProposal


class Revision(msgspec.Struct, frozen=True):
    """A freelancer's ask to change an own proposal."""

    caller: Caller
    project_id: ProjectId
    id: ProposalId
    patch: ProposalPatch
    if_match: IfMatch = ANY_STATE


class Decision(msgspec.Struct, frozen=True):
    """A client's ask to accept or reject a proposal for an own project."""

    caller: Caller
    project_id: ProjectId
    id: ProposalId
    verdict: Literal["accepted", "rejected"]


async def visible_proposal(caller: Caller, id: ProposalId, fields: Fields = None) -> Proposal:
    """The proposal, or some fields of it, if the caller is a party to it.

    Raises:
        NotFound: there is none, or it is between others.
    """
    proposal = await find_proposal((id, fields))
    if proposal is not None:
        if caller.is_admin or proposal.freelancer_id == caller.id:
            return proposal
        project = await projects.find_project((proposal.project_id, _OWNED))
        if project is not None and projects.may_manage(caller, project):
            return proposal
    raise NotFound("proposal", id)


async def list_for_project(
    caller: Caller, project_id: ProjectId, query: ProposalQuery, fields: Fields = None
) -> Page[Proposal]:
    """The bids for a project: all of them to its owner, to a freelancer the own one.

    Raises:
        NotFound: there is no such project, or none that the caller may see.
        Forbidden: the project is another client's.
    """
    project = await projects.visible_project(caller, project_id, _OWNED)
    owns = projects.may_manage(caller, project)
    if not owns and caller.role != "freelancer":
        raise Forbidden("Only the project's owner may see its proposals.")
    freelancer_id = None if owns else caller.id
    return await _read(query, fields, project_id=project_id, freelancer_id=freelancer_id)


async def list_own(caller: Caller, query: ProposalQuery, fields: Fields = None) -> Page[Proposal]:
    """The bids that the caller has made."""
    return await _read(query, fields, project_id=None, freelancer_id=caller.user_id)


async def submit(submission: Submission) -> Proposal:
    """Bid for a project.

    Raises:
        NotFound: there is no such project, or it is a draft.
        Conflict: it isn't open, or has a proposal by this freelancer already.
    """
    return await add_proposal(submission)


async def revise(
    caller: Caller, id: ProposalId, patch: ProposalPatch, if_match: IfMatch
) -> Proposal:
    """Change or withdraw an own proposal that is pending.

    Raises:
        NotFound: there is none, or it is between others.
        Forbidden: the caller is the project's owner, who can't change a bid.
        PreconditionFailed: it has changed since the caller read it.
        Conflict: it isn't pending any more.
    """
    proposal = await visible_proposal(caller, id, ("project_id",))
    return await change_proposal(Revision(caller, proposal.project_id, id, patch, if_match))


async def decide(
    caller: Caller, id: ProposalId, verdict: Literal["accepted", "rejected"]
) -> Proposal:
    """Accept a proposal, and with that reject the others and begin the project; or reject it.

    Raises:
        NotFound: there is none, or it is between others.
        Forbidden: the caller isn't the project's owner.
        Conflict: the proposal isn't pending, or the project isn't open.
    """
    proposal = await visible_proposal(caller, id, ("project_id",))
    return await decide_proposal(Decision(caller, proposal.project_id, id, verdict))


async def add_proposals(
    tx: AsyncConnection, asks: Sequence[Submission]
) -> Sequence[Proposal | Exception]:
    """Insert bids for projects that are open while this transaction holds them."""
    held = await projects.lock_projects(tx, {ask.project_id for ask in asks})
    ids = await queries.take_ids(tx, len(asks))
    outcomes = [_submitted(id, ask, held) for id, ask in zip(ids, asks, strict=True)]
    new = [outcome for outcome in outcomes if isinstance(outcome, Proposal)]
    stored = await queries.insert_proposals(tx, new) if new else {}
    record(*(_event("proposal.submitted", proposal) for proposal in stored.values()))
    await _tally(tx, held, [(None, proposal) for proposal in stored.values()])
    twice = Conflict("You have made a proposal for this project already.")
    return [
        stored.get(outcome.id, twice) if isinstance(outcome, Proposal) else outcome
        for outcome in outcomes
    ]


async def change_proposals(
    tx: AsyncConnection, asks: Sequence[Revision]
) -> Sequence[Proposal | Exception]:
    """Change bids while this transaction holds their projects; asks about one follow each other."""
    held_projects = await projects.lock_projects(tx, {ask.project_id for ask in asks})
    before = await queries.select_proposals.whole(tx, [ask.id for ask in asks])
    held = dict(before)
    outcomes: list[Proposal | Exception] = []
    for ask in asks:
        try:
            held[ask.id] = _revised(held.get(ask.id), ask)
            outcomes.append(held[ask.id])
        except ProblemError as problem:
            outcomes.append(problem)
    outcomes = await _stored(tx, before, held, outcomes)
    await _tally(tx, held_projects, [(before[id], proposal) for id, proposal in held.items()])
    return outcomes


async def decide_proposals(
    tx: AsyncConnection, asks: Sequence[Decision]
) -> Sequence[Proposal | Exception]:
    """Decide bids in the order of asking, each seeing what the ones before it decided."""
    projects_before = await projects.lock_projects(tx, {ask.project_id for ask in asks})
    before = await queries.select_at_stake(tx, projects_before, [ask.id for ask in asks])
    held_projects: dict[ProjectId, Project] = dict(projects_before)
    held = dict(before)
    outcomes: list[Proposal | Exception] = []
    for ask in asks:
        try:
            outcomes.append(_decided(ask, held_projects, held))
        except ProblemError as problem:
            outcomes.append(problem)
    await projects.store_projects(tx, projects_before, held_projects)
    return await _stored(tx, before, held, outcomes)


async def find_letters(
    tx: AsyncConnection, freelancer_ids: Sequence[UserId], rows: int
) -> dict[ProposalId, ProjectId]:
    """Up to `rows` proposals of these freelancers whose letters nobody has agreed to."""
    return await queries.select_letters(tx, freelancer_ids, rows)


async def retract(
    tx: AsyncConnection, ids: Sequence[ProposalId], held_projects: Mapping[ProjectId, Project]
) -> None:
    """Empty proposals of their letters and withdraw the pending ones: their freelancer is gone.

    The transaction holds their projects. One that was accepted meanwhile stays as it is.
    """
    held = await queries.select_proposals.whole(tx, ids) if ids else {}
    emptied = [
        replace(
            proposal,
            cover_letter="",
            status="withdrawn" if proposal.status == "pending" else proposal.status,
            version=proposal.version + 1,
        )
        for proposal in held.values()
        if proposal.status != "accepted"
    ]
    if emptied:
        await queries.update_proposals(tx, emptied)
    record(*(_event("proposal.updated", proposal) for proposal in emptied))
    await _tally(tx, held_projects, [(held[proposal.id], proposal) for proposal in emptied])


add_proposal = write_batch(add_proposals, order=lambda ask: ask.project_id)
change_proposal = write_batch(change_proposals, order=lambda ask: ask.project_id)
decide_proposal = write_batch(decide_proposals, order=lambda ask: ask.project_id)


async def _read(
    query: ProposalQuery,
    fields: Fields,
    *,
    project_id: ProjectId | None,
    freelancer_id: UserId | None,
) -> Page[Proposal]:
    return await read_page(
        proposal_list,
        parameters=query,
        fields=fields,
        sort=query.sort,
        filters={
            "project_id": project_id,
            "freelancer_id": freelancer_id,
            "status": query.status,
        },
    )


def _event(name: str, proposal: Proposal) -> Event:
    """What happened to a proposal. Only its parties may see it, so no shared cache has it."""
    return Event(name, f"proposal:{proposal.id}", proposal.version, proposal.project_id)


def _submitted(
    id: ProposalId, ask: Submission, held: Mapping[ProjectId, Project]
) -> Proposal | ProblemError:
    project = held.get(ask.project_id)
    if project is None or project.status == "draft":
        return NotFound("project", ask.project_id)
    if project.status != "open":
        return Conflict(f"The project is {project.status}; proposals are taken while it is open.")
    return Proposal(
        id=id,
        project_id=project.id,
        freelancer_id=ask.freelancer_id,
        cover_letter=ask.new.cover_letter,
        bid=ask.new.bid,
        currency=project.currency,
        estimated_days=ask.new.estimated_days,
        status="pending",
        created_at="",
        updated_at="",
        version=1,
    )


def _revised(proposal: Proposal | None, ask: Revision) -> Proposal:
    if proposal is None:
        raise NotFound("proposal", ask.id)
    if proposal.freelancer_id != ask.caller.id:
        raise Forbidden("Only the freelancer who made a proposal may change it.")
    ask.if_match.check(proposal.id, proposal.version)
    _require_pending(proposal)
    given = {name: value for name, value in asdict(ask.patch).items() if value is not UNSET}
    return replace(proposal, version=proposal.version + 1, **given)


def _decided(
    ask: Decision, held_projects: dict[ProjectId, Project], held: dict[ProposalId, Proposal]
) -> Proposal:
    project, proposal = held_projects.get(ask.project_id), held.get(ask.id)
    if project is None or proposal is None:
        raise NotFound("proposal", ask.id)
    if project.client_id != ask.caller.id:
        raise Forbidden("Only the project's owner may decide its proposals.")
    if project.status != "open":
        raise Conflict(f"The project is {project.status}; proposals are decided while it is open.")
    _require_pending(proposal)
    held[ask.id] = _with_status(proposal, ask.verdict)
    if ask.verdict == "accepted":
        for other in list(held.values()):
            if other.project_id == project.id and other.status == "pending":
                held[other.id] = _with_status(other, "rejected")
        begun = projects.move(project, "in_progress")
        held_projects[project.id] = replace(begun, version=project.version + 1)
    return held[ask.id]


def _require_pending(proposal: Proposal) -> None:
    if proposal.status != "pending":
        raise Conflict(f"The proposal is {proposal.status}; only pending ones can change.")


def _with_status(proposal: Proposal, status: Literal["accepted", "rejected"]) -> Proposal:
    return replace(proposal, status=status, version=proposal.version + 1)


async def _tally(
    tx: AsyncConnection,
    held: Mapping[ProjectId, Project],
    changes: Iterable[tuple[Proposal | None, Proposal]],
) -> None:
    """Have projects say what these stored changes, of a proposal before and after, come to.

    A decision changes nothing of it: what was rejected was bid all the same.
    """
    by_project: dict[ProjectId, list[tuple[Proposal | None, Proposal]]] = {}
    for change in changes:
        by_project.setdefault(change[1].project_id, []).append(change)
    tallies: dict[ProjectId, Tally] = {}
    unknown: dict[ProjectId, int] = {}
    for id, changed in by_project.items():
        before = Tally(held[id].proposal_count, held[id].lowest_bid)
        count, lowest = tallied(before, changed)
        if lowest is UNSET:
            unknown[id] = count
        elif (after := Tally(count, lowest)) != before:
            tallies[id] = after
    if unknown:
        lowest_bids = await queries.select_lowest_bids(tx, unknown)
        tallies |= {id: Tally(count, lowest_bids.get(id)) for id, count in unknown.items()}
    await projects.store_tallies(tx, held, tallies)


async def _stored(
    tx: AsyncConnection,
    before: Mapping[ProposalId, Proposal],
    after: Mapping[ProposalId, Proposal],
    outcomes: list[Proposal | Exception],
) -> list[Proposal | Exception]:
    changed = [proposal for id, proposal in after.items() if proposal != before[id]]
    if not changed:
        return outcomes
    time = await queries.update_proposals(tx, changed)
    for proposal in changed:
        decided = proposal.status in ("accepted", "rejected")
        record(_event(f"proposal.{proposal.status}" if decided else "proposal.updated", proposal))
    return [
        replace(outcome, updated_at=time) if isinstance(outcome, Proposal) else outcome
        for outcome in outcomes
    ]
