"""The outbox: each change tells of itself in its own transaction."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    "CREATE SEQUENCE outbox_id_seq AS bigint",
    """
    CREATE TABLE outbox (
        id bigint NOT NULL,
        key bigint NOT NULL,
        stamp bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        version integer NOT NULL,
        name text NOT NULL,
        subject text NOT NULL,
        tags text NOT NULL,
        CONSTRAINT pk_outbox PRIMARY KEY (id, key)
    ) WITH (
        autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_insert_threshold = -1,
        autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_threshold = 1000000,
        vacuum_truncate = false
    )
    """,
    "COMMENT ON TABLE outbox IS 'changes that others have still to be told of'",
    "COMMENT ON COLUMN outbox.key IS 'by which the resource itself is spread'",
    "COMMENT ON COLUMN outbox.stamp IS 'what the change gave to the tags'' clocks'",
    "COMMENT ON COLUMN outbox.version IS 'of the resource afterwards; 0: has none'",
    "COMMENT ON COLUMN outbox.name IS 'what happened, such as project.created'",
    "COMMENT ON COLUMN outbox.subject IS 'to what, such as project:17'",
    "COMMENT ON COLUMN outbox.tags IS 'what caches must forget, parted by spaces'",
)


def upgrade() -> None:
    """Create the table and the sequence of its ids."""
    for statement in STATEMENTS:
        op.execute(statement)
