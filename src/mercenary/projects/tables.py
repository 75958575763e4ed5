"""Projects and the skills they need, spread by project.

Columns of fixed width stand first, which saves PostgreSQL the padding between them.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    Integer,
    Sequence,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR

from mercenary.db.metadata import CROSSING, MONEY, by, index, metadata, moment, one_of

project_ids = Sequence("projects_id_seq", metadata=metadata, data_type=BigInteger())

projects = Table(
    "projects",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("client_id", BigInteger, ForeignKey("users.id", info=CROSSING), nullable=False),
    moment("created_at"),
    moment("updated_at"),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("status", Text, nullable=False, server_default=text("'draft'")),
    Column("currency", Text, nullable=False, comment="ISO 4217"),
    Column("budget", MONEY, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column(
        "search",
        TSVECTOR,
        Computed(
            "(setweight(to_tsvector('english'::regconfig, title), 'A'::\"char\")"
            " || setweight(to_tsvector('english'::regconfig, description), 'B'::\"char\"))",
            persisted=True,
        ),
    ),
    Column(
        "proposal_count",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="proposals that weren't withdrawn",
    ),
    Column("lowest_bid", MONEY, comment="of the proposals that are counted; NULL without any"),
    Column("client_name", Text, nullable=False, comment="the client's name, as users has it"),
    one_of("status", "draft", "open", "in_progress", "completed", "cancelled"),
    CheckConstraint("budget > 0", name="budget"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
    CheckConstraint("(proposal_count = 0) = (lowest_bid IS NULL)", name="lowest_bid"),
    index(
        "idx_projects_status_created",
        "status",
        "created_at",
        "id",
        query="projects.select_project_pages",
        serves="GET /projects?status=, newest or oldest first",
    ),
    index(
        "idx_projects_created",
        "created_at",
        "id",
        query="projects.select_project_pages",
        serves="GET /projects, newest or oldest first",
    ),
    index(
        "idx_projects_status_budget",
        "status",
        "budget",
        "id",
        postgresql_include=["currency"],
        query="projects.select_project_pages",
        serves="GET /projects?status=, sorted by budget; facets by status and currency",
    ),
    index(
        "idx_projects_budget",
        "budget",
        "id",
        query="projects.select_project_pages",
        serves="GET /projects?sort=budget, min_budget and max_budget",
    ),
    index(
        "idx_projects_client_created",
        "client_id",
        "created_at",
        "id",
        query="projects.select_project_pages",
        serves="GET /projects?client_id=",
    ),
    index(
        "idx_projects_client_budget",
        "client_id",
        "budget",
        "id",
        query="projects.select_project_pages",
        serves="GET /projects?client_id=, sorted by budget",
    ),
    index(
        "idx_projects_published_created",
        "created_at",
        "id",
        postgresql_where=text("status <> 'draft'"),
        query="projects.select_project_pages",
        serves="GET /projects for everybody, newest or oldest first, however many drafts there are",
    ),
    index(
        "idx_projects_published_budget",
        "budget",
        "id",
        postgresql_where=text("status <> 'draft'"),
        query="projects.select_project_pages",
        serves="GET /projects for everybody by budget, however many drafts there are",
    ),
    index(
        "idx_projects_search",
        "search",
        postgresql_using="gin",
        query="projects.select_project_pages",
        serves="GET /projects?q=",
    ),
    info=by("id"),
    comment="work that clients want done",
)

project_skills = Table(
    "project_skills",
    metadata,
    Column(
        "project_id", BigInteger, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("skill_id", BigInteger, ForeignKey("skills.id"), primary_key=True),
    index(
        "idx_project_skills_skill",
        "skill_id",
        "project_id",
        query="projects.select_project_pages",
        serves="GET /projects?skill=",
    ),
    info=by("project_id"),
    comment="skills that a project needs",
)
