"""Proposals, spread by project, so that hiring stays on one shard."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from mercenary.db.metadata import CROSSING, MONEY, by, index, metadata, moment, one_of

proposal_ids = Sequence("proposals_id_seq", metadata=metadata, data_type=BigInteger())

proposals = Table(
    "proposals",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column(
        "project_id", BigInteger, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("freelancer_id", BigInteger, ForeignKey("users.id", info=CROSSING), nullable=False),
    moment("created_at"),
    moment("updated_at"),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("estimated_days", Integer, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    Column("currency", Text, nullable=False, comment="the project's"),
    Column("bid", MONEY, nullable=False),
    Column("cover_letter", Text, nullable=False),
    UniqueConstraint("project_id", "freelancer_id"),
    one_of("status", "pending", "accepted", "rejected", "withdrawn"),
    CheckConstraint("bid > 0", name="bid"),
    CheckConstraint("estimated_days > 0", name="estimated_days"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
    index(
        "uq_proposals_accepted",
        "project_id",
        unique=True,
        postgresql_where=text("status = 'accepted'"),
        serves="at most one hired freelancer a project",
    ),
    index(
        "idx_proposals_project_created",
        "project_id",
        "created_at",
        "id",
        query="proposals.select_proposal_pages",
        serves="GET /projects/{id}/proposals; the pending bids at an acceptance",
    ),
    index(
        "idx_proposals_freelancer_created",
        "freelancer_id",
        "created_at",
        "id",
        query="proposals.select_proposal_pages",
        serves="GET /users/me/proposals",
    ),
    index(
        "idx_proposals_freelancer_bid",
        "freelancer_id",
        "bid",
        "id",
        query="proposals.select_proposal_pages",
        serves="GET /users/me/proposals, sorted by bid",
    ),
    info=by("project_id"),
    comment="what freelancers offer for projects",
)
