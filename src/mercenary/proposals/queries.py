"""All that the database is asked about proposals. Every function takes many and returns many."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    DateTime,
    Integer,
    Numeric,
    Text,
    bindparam,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.arrays import array_of, columns_of, rows_of
from mercenary.db.changes import Changes
from mercenary.db.engine import current
from mercenary.db.metadata import as_rfc3339
from mercenary.db.page_statements import Filter, SortKey
from mercenary.db.pages import PageQuery
from mercenary.db.projection import KeyQuery, Projection
from mercenary.http.access import UserId
from mercenary.http.wire import rfc3339
from mercenary.projects.schemas import ProjectId
from mercenary.proposals.schemas import Proposal, ProposalId
from mercenary.proposals.tables import proposal_ids, proposals

_projection = Projection(
    Proposal,
    {
        "id": proposals.c.id,
        "project_id": proposals.c.project_id,
        "freelancer_id": proposals.c.freelancer_id,
        "cover_letter": proposals.c.cover_letter,
        "bid": proposals.c.bid,
        "currency": proposals.c.currency,
        "estimated_days": proposals.c.estimated_days,
        "status": proposals.c.status,
        "created_at": as_rfc3339(proposals.c.created_at),
        "updated_at": as_rfc3339(proposals.c.updated_at),
        "version": proposals.c.version,
    },
)
# By the id alone: a proposal's own address doesn't name its project, so on a sharded database
# this read asks every shard's index. Its parties are its freelancer and the project's owner.
select_proposals = KeyQuery(
    "select_proposals", _projection, proposals.c.id, always=("project_id", "freelancer_id")
)
# What a decision about some proposals of a project bears on: those, and all that are pending.
_AT_STAKE = select(*_projection.columns(None)).where(
    proposals.c.project_id == func.any(array_of("project_ids", BigInteger())),
    or_(proposals.c.status == "pending", proposals.c.id == func.any(array_of("ids", BigInteger()))),
)


async def select_at_stake(
    tx: AsyncConnection, project_ids: Collection[ProjectId], ids: Sequence[ProposalId]
) -> dict[ProposalId, Proposal]:
    """These proposals, and every pending one for the projects."""
    asked = {"project_ids": list(project_ids), "ids": ids}
    rows = (await tx.execute(_AT_STAKE, asked)).all()
    return {row[0]: _projection.build(row) for row in rows}


async def take_ids(tx: AsyncConnection, count: int) -> list[ProposalId]:
    """Ids for proposals about to be inserted."""
    return [ProposalId(id) for id in await current().ids.take(tx, proposal_ids, count)]


_NEW = rows_of(
    "new",
    id=BigInteger(),
    project_id=BigInteger(),
    freelancer_id=BigInteger(),
    cover_letter=Text(),
    bid=Numeric(12, 2),
    currency=Text(),
    estimated_days=Integer(),
    status=Text(),
)
_INSERT = (
    upsert(proposals)
    .from_select(list(_NEW.c.keys()), select(*_NEW.c))
    .on_conflict_do_nothing(index_elements=[proposals.c.project_id, proposals.c.freelancer_id])
    .returning(proposals.c.id, proposals.c.created_at)
)


async def insert_proposals(
    tx: AsyncConnection, new: Sequence[Proposal]
) -> Mapping[ProposalId, Proposal]:
    """Insert proposals; those whose freelancer has one for the project already aren't returned."""
    names = list(_NEW.c.keys())
    ordered = sorted(new, key=lambda proposal: (proposal.project_id, proposal.freelancer_id))
    rows = [[getattr(proposal, name) for name in names] for proposal in ordered]
    stored = await tx.execute(_INSERT, columns_of("new", names, rows))
    by_id = {proposal.id: proposal for proposal in new}
    return {
        row.id: replace(
            by_id[row.id],
            created_at=rfc3339(row.created_at),
            updated_at=rfc3339(row.created_at),
        )
        for row in stored
    }


_CHANGED = rows_of(
    "changed",
    id=BigInteger(),
    project_id=BigInteger(),
    cover_letter=Text(),
    bid=Numeric(12, 2),
    estimated_days=Integer(),
    status=Text(),
    version=Integer(),
)
_UPDATE = Changes(
    update(proposals)
    .values(
        {
            name: _CHANGED.c[name]
            for name in ("cover_letter", "bid", "estimated_days", "status", "version")
        }
    )
    .values(updated_at=func.now())
    .where(proposals.c.id == _CHANGED.c.id, proposals.c.project_id == _CHANGED.c.project_id)
    .returning(proposals.c.updated_at),
    _CHANGED,
)


async def update_proposals(tx: AsyncConnection, changed: Sequence[Proposal]) -> str:
    """Store proposals whose projects this transaction holds; returns when they were updated."""
    names = list(_CHANGED.c.keys())
    rows = [[getattr(proposal, name) for name in names] for proposal in changed]
    return rfc3339((await _UPDATE.store(tx, rows))[0].updated_at)


# Asked only when the lowest bid has gone; a project's bids are few, and have an index.
_LOWEST_BIDS = (
    select(proposals.c.project_id, func.min(proposals.c.bid).label("bid"))
    .where(
        proposals.c.project_id == func.any(array_of("project_ids", BigInteger())),
        proposals.c.status != "withdrawn",
    )
    .group_by(proposals.c.project_id)
)


async def select_lowest_bids(
    tx: AsyncConnection, project_ids: Collection[ProjectId]
) -> dict[ProjectId, Decimal]:
    """The lowest bid for each project that has one that wasn't withdrawn."""
    found = await tx.execute(_LOWEST_BIDS, {"project_ids": list(project_ids)})
    return {ProjectId(row.project_id): row.bid for row in found}


_LETTERS = (
    select(proposals.c.id, proposals.c.project_id)
    .where(
        proposals.c.freelancer_id == func.any(array_of("freelancer_ids", BigInteger())),
        proposals.c.status != "accepted",
        proposals.c.cover_letter != "",
    )
    .limit(bindparam("rows", type_=Integer()))
)


async def select_letters(
    tx: AsyncConnection, freelancer_ids: Sequence[UserId], rows: int
) -> dict[ProposalId, ProjectId]:
    """Up to `rows` proposals of these freelancers that have a letter and weren't accepted."""
    found = await tx.execute(_LETTERS, {"freelancer_ids": freelancer_ids, "rows": rows})
    return {row.id: row.project_id for row in found}


_created = SortKey(lambda _: proposals.c.created_at, DateTime(timezone=True), datetime)
# By bid, too: a project's bids are few, and a freelancer's have an index.
_BY_ANYTHING = frozenset({"created_at", "-created_at", "bid", "-bid"})
_bid = SortKey(lambda _: proposals.c.bid, Numeric(12, 2), Decimal)

select_proposal_pages = PageQuery(
    "select_proposal_pages",
    _projection,
    key=proposals.c.id,
    filters={
        "project_id": Filter.of(proposals.c.project_id, leads=_BY_ANYTHING),
        "freelancer_id": Filter.of(proposals.c.freelancer_id, leads=_BY_ANYTHING),
        "status": Filter(Text(), lambda status: proposals.c.status == status),
    },
    sorts={
        "created_at": _created,
        "-created_at": replace(_created, descending=True),
        "bid": _bid,
        "-bid": replace(_bid, descending=True),
    },
    # A project's, or a freelancer's: nobody is shown all bids.
    one_of=("project_id", "freelancer_id"),
)
