"""The rules of projects: who sees them, how they change, when they may."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict, replace
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.batches import read_batch, write_batch
from mercenary.db.listing import Listing
from mercenary.db.outbox import Event, record
from mercenary.db.projection import Fields
from mercenary.errors import Conflict, Fault, Forbidden, Invalid, NotFound, ProblemError
from mercenary.http.access import Caller, UserId
from mercenary.http.conditions import ANY_STATE, IfMatch
from mercenary.http.endpoint import FacetedPage
from mercenary.http.lists import read_page
from mercenary.projects import queries
from mercenary.projects.schemas import (
    NewProject,
    Project,
    ProjectId,
    ProjectPatch,
    ProjectQuery,
    Status,
    Tally,
)
from mercenary.skills import service as skills

# Which status may follow which (api.md, «Resources»).
MOVES: Mapping[Status, tuple[Status, ...]] = {
    "draft": ("open", "cancelled"),
    "open": ("in_progress", "cancelled"),
    "in_progress": ("completed", "cancelled"),
    "completed": (),
    "cancelled": (),
}

find_project = read_batch(queries.select_projects, replicated=True)
project_list = Listing(
    queries.select_project_pages, tag="projects", public="published", replicated=True
)
_NOBODY: Final = UserId(0)
# Projects whose client's name is changed by one statement.
RENAMED_AT_ONCE: Final = 1_000


class Posting(msgspec.Struct, frozen=True):
    """A client's ask to post a project."""

    client_id: UserId
    new: NewProject


class Change(msgspec.Struct, frozen=True):
    """Somebody's ask to change a project, or with `patch` None to delete it."""

    caller: Caller
    id: ProjectId
    patch: ProjectPatch | None
    if_match: IfMatch = ANY_STATE


def may_manage(caller: Caller, project: Project) -> bool:
    """Whether the caller owns the project, or may act for whoever does."""
    return caller.is_admin or project.client_id == caller.id


def is_visible(caller: Caller, project: Project) -> bool:
    """Drafts show to their owner and to admins only."""
    return project.status != "draft" or may_manage(caller, project)


def move(project: Project, status: Status) -> Project:
    """The project in its next status.

    Raises:
        Conflict: this status can't follow; the detail names those that can.
    """
    allowed = MOVES[project.status]
    if status not in allowed:
        others = f"it can become {' or '.join(allowed)}" if allowed else "nothing follows"
        raise Conflict(f"The project is {project.status}; {others}, not {status}.")
    return replace(project, status=status)


async def visible_project(caller: Caller, id: ProjectId, fields: Fields = None) -> Project:
    """The project, or some fields of it, if the caller may see it.

    Raises:
        NotFound: there is none, or it is somebody else's draft.
    """
    project = await find_project((id, fields))
    if project is None or not is_visible(caller, project):
        raise NotFound("project", id)
    return project


def shows_own_drafts(query: ProjectQuery, user_id: int) -> bool:
    """Whether the list that a query asks for has drafts in it for their owner."""
    return query.status == "draft" or query.client_id == user_id


async def list_projects(
    caller: Caller, query: ProjectQuery, fields: Fields = None
) -> FacetedPage[Project]:
    """A page of projects. Drafts are among them for admins, and for owners who ask for their own.

    Raises:
        Invalid: the sort needs a query, or the budgets' bounds are the wrong way round.
    """
    faults = []
    if query.sort == "-relevance" and query.q is None:
        faults.append(Fault("?sort", "-relevance needs q"))
    if query.min_budget and query.max_budget and query.min_budget > query.max_budget:
        faults.append(Fault("?min_budget", "Expected at most max_budget"))
    if faults:
        raise Invalid(faults)
    client_id = query.client_id
    owns = caller.id is not None and client_id == caller.id
    published = not caller.is_admin and not owns
    if published and query.status == "draft":  # which are one's own alone
        client_id = (caller.id or _NOBODY) if client_id is None else _NOBODY
        published = False
    return await read_page(
        project_list,
        parameters=query,
        fields=fields,
        sort=query.sort or "-created_at",
        filters={
            "published": published,
            "status": query.status,
            "skill": query.skill,
            "client_id": client_id,
            "min_budget": query.min_budget,
            "max_budget": query.max_budget,
            "q": query.q,
        },
    )


async def post_projects(
    tx: AsyncConnection, asks: Sequence[Posting]
) -> Sequence[Project | Exception]:
    """Insert what clients post; a posting that names unknown skills fails alone."""
    known = await skills.known_ids(tx, {id for ask in asks for id in ask.new.skill_ids})
    faults = [_skill_faults(ask.new.skill_ids, known) for ask in asks]
    passed = [ask for ask, fault in zip(asks, faults, strict=True) if fault is None]
    ids = await queries.take_ids(tx, len(passed))
    names = await queries.hold_names(tx, {ask.client_id for ask in passed})
    new = [_project_of(id, ask, names[ask.client_id]) for id, ask in zip(ids, passed, strict=True)]
    stored = await queries.insert_projects(tx, new) if new else ()
    record(*(_event("project.created", project) for project in stored))
    inserted = iter(stored)
    return [fault or next(inserted) for fault in faults]


async def change_projects(
    tx: AsyncConnection, asks: Sequence[Change]
) -> Sequence[Project | Exception | None]:
    """Change or delete projects under their locks; the asks about one project follow each other."""
    wanted = {id for ask in asks if ask.patch for id in ask.patch.skill_ids or ()}
    known = await skills.known_ids(tx, wanted)
    before = await queries.lock_projects(tx, [ask.id for ask in asks])
    held: dict[ProjectId, Project | None] = dict(before)
    outcomes: list[Project | Exception | None] = []
    for ask in asks:
        try:
            held[ask.id] = _changed(held.get(ask.id), ask, known)
            outcomes.append(held[ask.id])
        except ProblemError as problem:
            outcomes.append(problem)
    time = await store_projects(tx, before, held)
    return [
        replace(outcome, updated_at=time) if isinstance(outcome, Project) else outcome
        for outcome in outcomes
    ]


async def store_projects(
    tx: AsyncConnection,
    before: Mapping[ProjectId, Project],
    after: Mapping[ProjectId, Project | None],
) -> str:
    """Store what differs between projects as they were locked and as they are to be.

    None means gone. Returns when they were updated.
    """
    changed = [
        project for id, project in after.items() if project is not None and project != before[id]
    ]
    await queries.replace_skills(
        tx,
        {
            project.id: project.skill_ids
            for project in changed
            if project.skill_ids != before[project.id].skill_ids
        },
    )
    gone = [id for id, project in after.items() if project is None]
    if gone:
        await queries.delete_projects(tx, gone)
    record(
        *(_event("project.deleted", before[id]) for id in gone),
        *(_event("project.updated", project, before[project.id]) for project in changed),
    )
    return await queries.update_projects(tx, changed) if changed else ""


async def lock_projects(
    tx: AsyncConnection, ids: Collection[ProjectId]
) -> dict[ProjectId, Project]:
    """Projects that nobody changes until this transaction ends."""
    return await queries.lock_projects(tx, ids)


async def find_unfinished(
    tx: AsyncConnection, client_ids: Sequence[UserId], rows: int
) -> list[ProjectId]:
    """Up to `rows` projects that these clients have neither seen to an end nor hired for."""
    return await queries.select_unfinished(tx, client_ids, rows)


async def abandon(tx: AsyncConnection, held: Mapping[ProjectId, Project]) -> None:
    """End projects whose client is gone: nobody sees the drafts, nobody can answer the bids."""
    after: dict[ProjectId, Project | None] = dict(held)
    for id, project in held.items():
        if project.status == "draft":
            after[id] = None
        elif project.status == "open":
            after[id] = replace(move(project, "cancelled"), version=project.version + 1)
    await store_projects(tx, held, after)


async def store_tallies(
    tx: AsyncConnection, held: Mapping[ProjectId, Project], tallies: Mapping[ProjectId, Tally]
) -> None:
    """Have projects that this transaction holds say what has become of their proposals."""
    if tallies:
        versions = await queries.update_tallies(tx, tallies)
        record(
            *(
                _event("project.updated", replace(held[id], version=version))
                for id, version in sorted(versions.items())
            )
        )


async def find_named_otherwise(
    tx: AsyncConnection, client_ids: Sequence[UserId], name: str, rows: int
) -> list[ProjectId]:
    """Up to `rows` projects of these clients that don't show this name."""
    return await queries.select_named_otherwise(tx, client_ids, name, rows)


async def rename_clients(tx: AsyncConnection, names: Mapping[UserId, str]) -> None:
    """Have all projects of users, whom this transaction holds, show the names they have now.

    No project is added meanwhile, for whoever posts waits for the user. The projects are locked in
    the order of their ids, as everybody does, and in statements none of which takes long.
    """
    ids = await queries.select_posted(tx, list(names))
    for first in range(0, len(ids), RENAMED_AT_ONCE):
        some = ids[first : first + RENAMED_AT_ONCE]
        await queries.hold_projects(tx, some)
        await rename_held(tx, some, names)


async def rename_held(
    tx: AsyncConnection, ids: Sequence[ProjectId], names: Mapping[UserId, str]
) -> None:
    """Have projects that this transaction holds show their clients' names."""
    for id, version, status in await queries.rename_clients(tx, ids, names):
        record(_event_of("project.updated", id, version, public=status != "draft"))


post_project = write_batch(post_projects)
change_project = write_batch(change_projects, order=lambda change: change.id)


def _event(name: str, *states: Project) -> Event:
    """What happened to a project, given as it is and as it was. Nobody else sees a draft."""
    public = any(project.status != "draft" for project in states)
    return _event_of(name, states[0].id, states[0].version, public=public)


def _event_of(name: str, id: ProjectId, version: int, *, public: bool) -> Event:
    subject = f"project:{id}"
    return Event(name, subject, version, id, (subject, "projects") if public else ())


def _project_of(id: ProjectId, ask: Posting, client_name: str) -> Project:
    new = ask.new
    return Project(
        id=id,
        client_id=ask.client_id,
        client_name=client_name,
        title=new.title,
        description=new.description,
        budget=new.budget,
        currency=new.currency,
        status=new.status,
        skill_ids=sorted(set(new.skill_ids)),
        proposal_count=0,
        lowest_bid=None,
        created_at="",
        updated_at="",
        version=1,
    )


def _changed(project: Project | None, ask: Change, known: Collection[int]) -> Project | None:
    if project is None or not is_visible(ask.caller, project):
        raise NotFound("project", ask.id)
    if not may_manage(ask.caller, project):
        raise Forbidden("Only the project's owner may change it.")
    ask.if_match.check(project.id, project.version)
    patch = ask.patch
    if patch is None:
        if project.status != "draft":
            raise Conflict(
                f"The project is {project.status}; only drafts can be deleted. Cancel it."
            )
        return None
    given = {name: value for name, value in asdict(patch).items() if value is not UNSET}
    if "skill_ids" in given:
        if fault := _skill_faults(given["skill_ids"], known):
            raise fault
        given["skill_ids"] = sorted(set(given["skill_ids"]))
    status = given.pop("status", project.status)
    if status != project.status:
        project = move(project, status)
    return replace(project, version=project.version + 1, **given)


def _skill_faults(skill_ids: Sequence[int], known: Collection[int]) -> Invalid | None:
    faults = [
        Fault(f"/skill_ids/{index}", "There is no skill with this id")
        for index, id in enumerate(skill_ids)
        if id not in known
    ]
    return Invalid(faults) if faults else None
