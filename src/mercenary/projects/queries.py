"""All that the database is asked about projects. Every function takes many and returns many."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Float,
    Integer,
    Numeric,
    Select,
    Text,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.arrays import array_of, columns_of, list_of, rows_of
from mercenary.db.changes import Changes
from mercenary.db.counts import Facet
from mercenary.db.engine import current
from mercenary.db.locks import Lock
from mercenary.db.metadata import as_rfc3339
from mercenary.db.page_statements import Filter, SortKey
from mercenary.db.pages import PageQuery
from mercenary.db.projection import KeyQuery, Projection
from mercenary.http.access import UserId
from mercenary.http.wire import rfc3339
from mercenary.projects.schemas import RANKED_MATCHES, Project, ProjectId, Status, Tally
from mercenary.projects.tables import project_ids, project_skills, projects
from mercenary.users.tables import users

_skill_ids = list_of(
    select(project_skills.c.skill_id)
    .where(project_skills.c.project_id == projects.c.id)
    .order_by(project_skills.c.skill_id)
).label("skill_ids")

_projection = Projection(
    Project,
    {
        "id": projects.c.id,
        "client_id": projects.c.client_id,
        "client_name": projects.c.client_name,
        "title": projects.c.title,
        "description": projects.c.description,
        "budget": projects.c.budget,
        "currency": projects.c.currency,
        "status": projects.c.status,
        "skill_ids": _skill_ids,
        "proposal_count": projects.c.proposal_count,
        "lowest_bid": projects.c.lowest_bid,
        "created_at": as_rfc3339(projects.c.created_at),
        "updated_at": as_rfc3339(projects.c.updated_at),
        "version": projects.c.version,
    },
)
# Who may see a project hangs on its owner and its status.
select_projects = KeyQuery(
    "select_projects", _projection, projects.c.id, always=("client_id", "status")
)
_LOCK = Lock(select(projects.c.id), id=projects.c.id)


async def hold_projects(tx: AsyncConnection, ids: Collection[ProjectId]) -> None:
    """Lock projects in the order of their ids, and read nothing of them."""
    await _LOCK.hold(tx, ids)


async def lock_projects(
    tx: AsyncConnection, ids: Collection[ProjectId]
) -> dict[ProjectId, Project]:
    """Projects by id, held by this transaction; rows are locked in the order of their ids.

    Locked first and read after: a read that waits for a lock would see the row anew, and its
    skills as they were before.
    """
    await hold_projects(tx, ids)
    return await select_projects.whole(tx, list(set(ids)))


_NEW = rows_of(
    "new",
    id=BigInteger(),
    client_id=BigInteger(),
    client_name=Text(),
    title=Text(),
    description=Text(),
    budget=Numeric(12, 2),
    currency=Text(),
    status=Text(),
)
_INSERT = (
    insert(projects)
    .from_select(list(_NEW.c.keys()), select(*_NEW.c))
    .returning(projects.c.created_at)
)


async def insert_projects(tx: AsyncConnection, new: Sequence[Project]) -> Sequence[Project]:
    """Insert projects with ids and skills of theirs; the times come back filled in."""
    names = list(_NEW.c.keys())
    rows = [[getattr(project, name) for name in names] for project in new]
    inserted = await tx.execute(_INSERT, columns_of("new", names, rows))
    # Every row of one statement gets the same now(), so any row's will do.
    time = rfc3339(inserted.scalars().all()[0])
    await insert_skills(tx, {project.id: project.skill_ids for project in new})
    return [replace(project, created_at=time, updated_at=time) for project in new]


async def take_ids(tx: AsyncConnection, count: int) -> list[ProjectId]:
    """Ids for projects about to be inserted."""
    return [ProjectId(id) for id in await current().ids.take(tx, project_ids, count)]


_CHANGED = rows_of(
    "changed",
    id=BigInteger(),
    title=Text(),
    description=Text(),
    budget=Numeric(12, 2),
    currency=Text(),
    status=Text(),
    version=Integer(),
)
_UPDATE = Changes(
    update(projects)
    .values({column.name: column for column in _CHANGED.c if column.name != "id"})
    .values(updated_at=func.now())
    .where(projects.c.id == _CHANGED.c.id)
    .returning(projects.c.updated_at),
    _CHANGED,
)


async def update_projects(tx: AsyncConnection, changed: Sequence[Project]) -> str:
    """Store projects that this transaction holds; returns when they were updated."""
    names = list(_CHANGED.c.keys())
    rows = [[getattr(project, name) for name in names] for project in changed]
    return rfc3339((await _UPDATE.store(tx, rows))[0].updated_at)


_TALLIED = rows_of("tallied", id=BigInteger(), proposal_count=Integer(), lowest_bid=Numeric(12, 2))
_TALLY = Changes(
    update(projects)
    .values(
        proposal_count=_TALLIED.c.proposal_count,
        lowest_bid=_TALLIED.c.lowest_bid,
        updated_at=func.now(),
        version=projects.c.version + 1,
    )
    .where(projects.c.id == _TALLIED.c.id)
    .returning(projects.c.id, projects.c.version),
    _TALLIED,
)


async def update_tallies(
    tx: AsyncConnection, tallies: Mapping[ProjectId, Tally]
) -> dict[ProjectId, int]:
    """Store the tallies of projects that this transaction holds; returns their versions now."""
    rows = [(id, tally.proposal_count, tally.lowest_bid) for id, tally in tallies.items()]
    return {row.id: row.version for row in await _TALLY.store(tx, rows)}


_NAMES = Lock(select(users.c.id, users.c.name), shared=True, id=users.c.id)


async def hold_names(tx: AsyncConnection, ids: Collection[UserId]) -> dict[UserId, str]:
    """Users' names, which stay what they are until this transaction ends."""
    return {row.id: row.name for row in await _NAMES.hold(tx, ids)}


_CLIENTS = projects.c.client_id == func.any(array_of("client_ids", BigInteger()))
_POSTED = select(projects.c.id).where(_CLIENTS).order_by(projects.c.id)
_NAMED_OTHERWISE = (
    select(projects.c.id)
    .where(_CLIENTS, projects.c.client_name != bindparam("name", type_=Text()))
    .limit(bindparam("rows", type_=Integer()))
)
_RENAMED = rows_of("renamed", client_id=BigInteger(), client_name=Text())
_RENAME = Changes(
    update(projects)
    .values(
        client_name=_RENAMED.c.client_name,
        updated_at=func.now(),
        version=projects.c.version + 1,
    )
    .where(
        projects.c.id == func.any(array_of("ids", BigInteger())),
        projects.c.client_id == _RENAMED.c.client_id,
    )
    .returning(projects.c.id, projects.c.version, projects.c.status),
    _RENAMED,
)


async def select_posted(tx: AsyncConnection, client_ids: Sequence[UserId]) -> list[ProjectId]:
    """All that these clients have ever posted, in the order of ids."""
    found = await tx.execute(_POSTED, {"client_ids": client_ids})
    return [ProjectId(id) for id in found.scalars()]


async def select_named_otherwise(
    tx: AsyncConnection, client_ids: Sequence[UserId], name: str, rows: int
) -> list[ProjectId]:
    """Up to `rows` projects of these clients that don't show this name."""
    asked = {"client_ids": client_ids, "name": name, "rows": rows}
    return [ProjectId(id) for id in (await tx.execute(_NAMED_OTHERWISE, asked)).scalars()]


async def rename_clients(
    tx: AsyncConnection, ids: Sequence[ProjectId], names: Mapping[UserId, str]
) -> list[tuple[ProjectId, int, Status]]:
    """Give those of the projects that are these clients' the clients' names.

    The transaction holds them. Returns them with the versions that they have now, and their status.
    """
    stored = await _RENAME.store(tx, names.items(), ids=ids)
    return sorted((row.id, row.version, row.status) for row in stored)


_WANTED = rows_of("wanted", project_id=BigInteger(), skill_id=BigInteger())
_INSERT_SKILLS = insert(project_skills).from_select(["project_id", "skill_id"], select(*_WANTED.c))
_DELETE_SKILLS = delete(project_skills).where(
    project_skills.c.project_id == func.any(array_of("ids", BigInteger()))
)
_DELETE = delete(projects).where(projects.c.id == func.any(array_of("ids", BigInteger())))


async def insert_skills(tx: AsyncConnection, wanted: Mapping[ProjectId, Sequence[int]]) -> None:
    """Give projects their skills."""
    rows = [(id, skill_id) for id, skill_ids in wanted.items() for skill_id in skill_ids]
    if rows:
        await tx.execute(_INSERT_SKILLS, columns_of("wanted", _WANTED.c.keys(), rows))


async def replace_skills(tx: AsyncConnection, wanted: Mapping[ProjectId, Sequence[int]]) -> None:
    """Take the projects' skills away and give them others."""
    if wanted:
        await tx.execute(_DELETE_SKILLS, {"ids": list(wanted)})
        await insert_skills(tx, wanted)


async def delete_projects(tx: AsyncConnection, ids: Sequence[ProjectId]) -> None:
    """Remove projects and their skills."""
    await tx.execute(_DELETE_SKILLS, {"ids": ids})
    await tx.execute(_DELETE, {"ids": ids})


_UNFINISHED = (
    select(projects.c.id)
    .where(
        projects.c.client_id == func.any(array_of("client_ids", BigInteger())),
        projects.c.status.in_(("draft", "open")),
    )
    .limit(bindparam("rows", type_=Integer()))
)


async def select_unfinished(
    tx: AsyncConnection, client_ids: Sequence[UserId], rows: int
) -> list[ProjectId]:
    """Up to `rows` drafts and open projects of these clients."""
    found = await tx.execute(_UNFINISHED, {"client_ids": client_ids, "rows": rows})
    return [ProjectId(id) for id in found.scalars()]


def _own_skill(skill_id: ColumnElement[int]) -> Select[Any]:
    return (
        select(project_skills.c.project_id)
        .where(project_skills.c.project_id == projects.c.id, project_skills.c.skill_id == skill_id)
        .correlate_except(project_skills)
    )


def _needs_skill(skill_id: ColumnElement[int]) -> ColumnElement[bool]:
    return _own_skill(skill_id).exists()


def _is_seen_to_need(skill_id: ColumnElement[int]) -> ColumnElement[bool]:
    # Of EXISTS the planner might make a hash of all projects with the skill.
    return _own_skill(skill_id).scalar_subquery().is_not(None)


def _matches(words: ColumnElement[str]) -> ColumnElement[bool]:
    return projects.c.search.op("@@")(func.websearch_to_tsquery("english", words))


_created = SortKey(lambda _: projects.c.created_at, DateTime(timezone=True), datetime)
_budget = SortKey(lambda _: projects.c.budget, Numeric(12, 2), Decimal)
_relevance = SortKey(
    lambda asked: func.ts_rank(
        projects.c.search, func.websearch_to_tsquery("english", asked["q"]), type_=Float()
    ),
    Float(),
    float,
    descending=True,
    ranks="q",
    window=RANKED_MATCHES,
)
_BY_TIME = frozenset({"created_at", "-created_at"})
_BY_BUDGET = frozenset({"budget", "-budget"})

select_project_pages = PageQuery(
    "select_project_pages",
    _projection,
    key=projects.c.id,
    filters={
        # As the indexes of what is published have it: a parameter wouldn't be known to mean them.
        "published": Filter(
            None,
            lambda _: projects.c.status != literal_column("'draft'"),
            hides=True,
            within=_BY_TIME | _BY_BUDGET,
        ),
        "client_id": Filter.of(projects.c.client_id, leads=_BY_TIME | _BY_BUDGET),
        "status": Filter.of(projects.c.status, leads=_BY_TIME | _BY_BUDGET),
        "skill": Filter(BigInteger(), _needs_skill, judges=_is_seen_to_need),
        "min_budget": Filter(
            Numeric(12, 2),
            lambda amount: projects.c.budget >= amount,
            bounds=_BY_BUDGET,
            opens="budget",
        ),
        "max_budget": Filter(
            Numeric(12, 2),
            lambda amount: projects.c.budget <= amount,
            bounds=_BY_BUDGET,
            opens="-budget",
        ),
        "q": Filter(Text(), _matches),
    },
    sorts={
        "created_at": _created,
        "-created_at": replace(_created, descending=True),
        "budget": _budget,
        "-budget": replace(_budget, descending=True),
        "-relevance": _relevance,
    },
    facets={
        "status": Facet(projects.c.status, chosen_by="status"),
        "currency": Facet(projects.c.currency),
        "skill": Facet(project_skills.c.skill_id, owner=project_skills.c.project_id),
    },
)
