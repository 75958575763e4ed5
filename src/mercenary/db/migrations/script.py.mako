"""${message}

Follows ${down_revision | comma,n}.
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}

STATEMENTS: tuple[str, ...] = ()


def upgrade() -> None:
    """Run in one transaction, so no CREATE INDEX CONCURRENTLY here."""
    for statement in STATEMENTS:
        op.execute(statement)
