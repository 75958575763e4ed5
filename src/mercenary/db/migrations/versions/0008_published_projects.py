"""What is published is listed by indexes of its own; another holds all that facets count."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

INDEXES = (
    ("idx_projects_published_created", "projects (created_at, id) WHERE status <> 'draft'",
     "GET /projects for everybody, newest or oldest first, however many drafts there are"),
    ("idx_projects_published_budget", "projects (budget, id) WHERE status <> 'draft'",
     "GET /projects for everybody by budget, however many drafts there are"),
    ("idx_projects_status_budget", "projects (status, budget, id) INCLUDE (currency)",
     "GET /projects?status=, sorted by budget; facets by status and currency"),
)  # fmt: skip


def upgrade() -> None:
    """Add two indexes and a column to the third."""
    op.execute("DROP INDEX idx_projects_status_budget")
    for name, on, serves in INDEXES:
        op.execute(f"CREATE INDEX {name} ON {on}")
        op.execute(f"COMMENT ON INDEX {name} IS '{serves}'")
