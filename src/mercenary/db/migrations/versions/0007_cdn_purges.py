"""What a CDN is told to forget, kept until it was told."""

from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None

SCHEMA = """
CREATE TABLE cdn_purges (
    target text NOT NULL,
    tag text NOT NULL,
    due_at timestamptz NOT NULL DEFAULT now(),
    asked bigint NOT NULL DEFAULT 1,
    told smallint NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    CONSTRAINT pk_cdn_purges PRIMARY KEY (target, tag)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE cdn_purges IS 'what shared caches outside have still to forget';
COMMENT ON COLUMN cdn_purges.target IS 'who is told, such as http://10.0.0.7:6081';
COMMENT ON COLUMN cdn_purges.tag IS 'what to forget, such as project:17; *: everything';
COMMENT ON COLUMN cdn_purges.asked IS
    'how often it was asked for while it waited: tells a new wish from the one told';
COMMENT ON COLUMN cdn_purges.told IS
    'how often it was told since; each wish is told more than once';
COMMENT ON COLUMN cdn_purges.attempts IS 'calls since the last that succeeded';
CREATE INDEX idx_cdn_purges_due ON cdn_purges (target, due_at);
COMMENT ON INDEX idx_cdn_purges_due IS 'taking what a target is to be told';
"""


def upgrade() -> None:
    """Create the table. The driver takes one statement at a time."""
    for statement in filter(None, (part.strip() for part in SCHEMA.split(";\n"))):
        op.execute(statement)
