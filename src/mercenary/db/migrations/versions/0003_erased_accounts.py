"""Accounts can be erased, and what is to be cleaned up is found by an index."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE users ADD COLUMN erased_at timestamptz",
    "ALTER TABLE users ALTER COLUMN email DROP NOT NULL",
    """
    ALTER TABLE users ADD CONSTRAINT ck_users_email
        CHECK ((email IS NULL) = (erased_at IS NOT NULL))
    """,
    "ALTER TABLE users ADD CONSTRAINT ck_users_erased_at CHECK (erased_at >= deactivated_at)",
    """
    CREATE INDEX idx_users_erasable ON users (deactivated_at)
        WHERE deactivated_at IS NOT NULL AND erased_at IS NULL
    """,
    "COMMENT ON INDEX idx_users_erasable IS 'deactivated accounts, to be erased'",
    "CREATE INDEX idx_sessions_over ON sessions (coalesce(ended_at, expires_at))",
    "COMMENT ON INDEX idx_sessions_over IS 'the sessions that are over, to be removed'",
    "CREATE INDEX idx_refresh_tokens_session ON refresh_tokens (user_id, session_id)",
    """
    COMMENT ON INDEX idx_refresh_tokens_session
        IS 'the tokens of sessions that are over, to be removed with them'
    """,
)


def upgrade() -> None:
    """Add what erasing and cleaning need."""
    for statement in STATEMENTS:
        op.execute(statement)
