"""A project's row says what its page shows of others: the client's name, the count of proposals."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE projects
    ADD COLUMN proposal_count integer NOT NULL DEFAULT 0,
    ADD COLUMN lowest_bid numeric(12, 2),
    ADD COLUMN client_name text
"""
# The version moves: whoever has a project's ETag from before hasn't seen these fields.
FILL = """
UPDATE projects
SET client_name = u.name,
    proposal_count = t.proposal_count,
    lowest_bid = t.lowest_bid,
    version = projects.version + 1
FROM users u, (
    SELECT p.id, count(b.id) AS proposal_count, min(b.bid) AS lowest_bid
    FROM projects p LEFT JOIN proposals b ON b.project_id = p.id AND b.status <> 'withdrawn'
    GROUP BY p.id
) t
WHERE u.id = projects.client_id AND t.id = projects.id
"""
RULES = """
ALTER TABLE projects
    ALTER COLUMN client_name SET NOT NULL,
    ADD CONSTRAINT ck_projects_lowest_bid CHECK ((proposal_count = 0) = (lowest_bid IS NULL))
"""
COMMENTS = (
    ("proposal_count", "proposals that weren't withdrawn"),
    ("lowest_bid", "of the proposals that are counted; NULL without any"),
    ("client_name", "the client's name, as users has it"),
)


def upgrade() -> None:
    """Add the columns and fill them for all projects at once."""
    for statement in (COLUMNS, FILL, RULES):
        op.execute(statement)
    for name, comment in COMMENTS:
        quoted = comment.replace("'", "''")
        op.execute(f"COMMENT ON COLUMN projects.{name} IS '{quoted}'")
