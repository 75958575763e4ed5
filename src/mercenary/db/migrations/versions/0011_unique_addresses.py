"""An e-mail address is one user's, regardless of case, as far as one server can tell."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# On a cluster credentials alone hold it: an index that spans shards can't be unique.
UNIQUE = """
DO $$ BEGIN
    IF to_regclass('pg_dist_partition') IS NOT NULL THEN
        PERFORM FROM pg_dist_partition WHERE logicalrelid = 'users'::regclass;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    DROP INDEX idx_users_email;
    CREATE UNIQUE INDEX idx_users_email ON users (lower(email));
END $$
"""


def upgrade() -> None:
    """Make the index anew; it takes a second for each half million users."""
    op.execute(UNIQUE)
    op.execute(
        "COMMENT ON INDEX idx_users_email IS 'one user an e-mail address, regardless of case'"
    )
    op.execute("COMMENT ON COLUMN users.email IS 'as given; unique regardless of case'")
