"""What PostgreSQL hides from a role: other roles' statements, and what their sessions do.

Then a question is answered from what is left, and whoever asked is told (`Hidden.hint`).
"""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Role(msgspec.Struct, frozen=True):
    """Who asks, and whether PostgreSQL tells it of other roles' doings."""

    name: str
    sees_all: bool

    @property
    def hint(self) -> str | None:
        """What to do so that nothing is hidden; None where nothing is."""
        if self.sees_all:
            return None
        return (
            f"What other roles do is hidden from {self.name}; a superuser shows it by GRANT "
            f'pg_read_all_stats TO "{self.name}".'
        )


_ROLE = text("SELECT current_user, pg_has_role('pg_read_all_stats', 'USAGE')")


async def role(db: AsyncConnection) -> Role:
    """Look who asks."""
    return Role(*(await db.execute(_ROLE)).one())
