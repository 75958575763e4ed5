"""What the database tells about itself."""

from sqlalchemy import Text, column, select, table
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.faults import sqlstate

_UNDEFINED_TABLE = "42P01"
_REVISIONS = select(column("version_num", Text)).select_from(table("alembic_version"))


async def select_revisions(db: AsyncConnection) -> frozenset[str]:
    """The revisions that the schema is at; none in a database that was never migrated."""
    try:
        rows = await db.execute(_REVISIONS)
    except ProgrammingError as error:
        if sqlstate(error) == _UNDEFINED_TABLE:
            return frozenset()
        raise
    return frozenset(rows.scalars())
