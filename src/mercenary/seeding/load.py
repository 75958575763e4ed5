"""Stores a seeded marketplace by COPY, in one transaction.

Foreign keys and secondary indexes are taken away before and put back after the rows, which is
several times faster than keeping them up; as all of it is one transaction, a seeding that dies
leaves the database as it was, empty and complete.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Final, NamedTuple

import asyncpg

from mercenary.cache import clocks
from mercenary.db.pooler import UNNAMED
from mercenary.db.uri import asyncpg_url
from mercenary.seeding import binary
from mercenary.seeding.population import Row
from mercenary.settings import SetupError

CONNECT_SECONDS: Final = 10.0
LOCK_SECONDS: Final = 5
# Every table that is filled, with the sequence its ids come from.
TABLES: Final = {
    "skills": "skills_id_seq",
    "users": "users_id_seq",
    "credentials": None,
    "user_skills": None,
    "projects": "projects_id_seq",
    "project_skills": None,
    "proposals": "proposals_id_seq",
}


# Tables that hang on users by keys that are never null: without users they are empty.
HANGING: Final = ("sessions", "refresh_tokens")


class SeedError(SetupError):
    """The database can't be seeded: one line of what is wrong and what to do."""


class _Removed(NamedTuple):
    drop: str
    create: str
    comment: str | None


class Loader:
    """An open transaction on an empty database. Use as `async with Loader(uri) as loader`."""

    def __init__(self, uri: str) -> None:
        self._dsn = asyncpg_url(uri).set(drivername="postgresql")
        self._stack = AsyncExitStack()
        self._removed: list[_Removed] = []
        self._freezes = False
        self.owns = False
        """Whether the role may do with the tables what it likes."""
        self._connection: asyncpg.Connection = None

    async def __aenter__(self) -> "Loader":
        """Connect, lock the tables and clear the way.

        Raises:
            SeedError: the database can't be reached, is in use, or holds rows already.
        """
        try:
            self._connection = await asyncpg.connect(
                self._dsn.render_as_string(hide_password=False), timeout=CONNECT_SECONDS, **UNNAMED
            )
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise SeedError(f"the database can't be reached ({error}); is it running?") from error
        self._stack.push_async_callback(self._connection.close)
        try:
            await self._begin()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Put everything back, commit and gather statistics; after a failure, undo all of it."""
        async with self._stack:
            if kind is None:
                await self._finish()

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Append rows to a table."""
        await self._connection.copy_records_to_table(table, records=rows, columns=columns)

    async def copy_packed(self, table: str, columns: Sequence[str], rows: bytes) -> None:
        """Append rows that are packed already, as `binary` does."""
        if rows:
            await self._connection.copy_to_table(
                table,
                source=_once(binary.HEADER, rows, binary.TRAILER),
                columns=columns,
                format="binary",
                freeze=self._freezes,
            )

    async def _begin(self) -> None:
        run = self._connection.execute
        await run("BEGIN")
        for name, value in {
            "lock_timeout": f"{LOCK_SECONDS}s",
            "statement_timeout": "0",
            "idle_in_transaction_session_timeout": "0",
            "maintenance_work_mem": "256MB",
            # A cluster (Citus) stores what refers to skills in one transaction with skills only if
            # it uses one connection a server; anybody else takes no notice.
            "citus.multi_shard_modify_mode": "sequential",
        }.items():
            await run(f"SET LOCAL {name} = '{value}'")
        names = ", ".join(TABLES)
        try:
            await run(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
            self.owns = await self._connection.fetchval(_OWNS_ALL, list(TABLES))
            # Only an owner may, on one server; anybody else loads more slowly.
            if self.owns and not await self._is_spread():
                await run(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
                self._removed = await self._removable()
                self._freezes = await self._may_truncate()
        except asyncpg.LockNotAvailableError as error:
            raise SeedError(
                "somebody else is using the database; stop the API or wait, and try again"
            ) from error
        for table in TABLES:
            if await self._connection.fetchval(f"SELECT 1 FROM {table} LIMIT 1"):  # noqa: S608
                raise SeedError(
                    f"the database is not empty: {table} has rows, and seeding adds to nothing; "
                    "give an empty database, or `mercenary up --fresh` to start anew"
                )
        for removed in self._removed:
            await run(removed.drop)
        if self._freezes:
            # Rows that come into a table emptied in the same transaction can be stored as frozen:
            # nobody has to look at them again, no vacuum and no index-only scan.
            await run(f"TRUNCATE {names}, {', '.join(HANGING)}")

    async def _is_spread(self) -> bool:
        """Whether the rows go to the servers of a cluster."""
        if await self._connection.fetchval("SELECT to_regclass('pg_dist_partition')") is None:
            return False
        return bool(await self._connection.fetchval(_IS_SPREAD))

    async def _may_truncate(self) -> bool:
        """Whether no table but ours hangs on the ones to fill: one of somebody else's may hold rows
        that name none of ours, and would be emptied, too."""
        ours = [*TABLES, *HANGING]
        if await self._connection.fetchval(_STRANGERS, ours):
            return False
        if not await self._connection.fetchval(_OWNS_ALL, ours):
            return False
        await self._connection.execute(f"LOCK TABLE {', '.join(HANGING)} IN ACCESS EXCLUSIVE MODE")
        return True

    async def _removable(self) -> list[_Removed]:
        """Foreign keys first, for they hang on the unique constraints that follow."""
        rows = await self._connection.fetch(_REMOVABLE, list(TABLES))
        return [_Removed(row["dropping"], row["creating"], row["commenting"]) for row in rows]

    async def _finish(self) -> None:
        run = self._connection.execute
        for removed in reversed(self._removed):
            await run(removed.create)
            if removed.comment:
                await run(removed.comment)
        for table, sequence in TABLES.items():
            if sequence:
                last = await self._connection.fetchval(f"SELECT max(id) FROM {table}")  # noqa: S608
                if last:  # in two statements, for a sequence is on one server of a cluster
                    await run("SELECT setval($1, $2)", sequence, last)
        await run(_FORGET_EVERYTHING, clocks.current().fresh())
        await run("COMMIT")
        # Now rather than by autovacuum in the middle of what the data are wanted for.
        await run(f"ANALYZE {', '.join(TABLES)}")


async def _once(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


# One event for all of it: whatever a cache holds is from before the data.
_FORGET_EVERYTHING: Final = """
    INSERT INTO outbox (id, key, stamp, version, name, subject, tags)
    VALUES (nextval('outbox_id_seq'), 0, $1, 0, 'cache.purged', '*', '*')
"""
_IS_SPREAD: Final = """
    SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'projects'::regclass)
"""
_OWNS_ALL: Final = """
    SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM pg_class
    WHERE oid = ANY (SELECT name::regclass FROM unnest($1::text[]) AS name)
"""
_STRANGERS: Final = """
    WITH ours AS (SELECT name::regclass AS id FROM unnest($1::text[]) AS name)
    SELECT EXISTS (
        SELECT FROM pg_constraint WHERE contype = 'f'
        AND confrelid IN (SELECT id FROM ours) AND conrelid NOT IN (SELECT id FROM ours)
    )
"""
_REMOVABLE: Final = """
    WITH filled AS (SELECT name::regclass AS id FROM unnest($1::text[]) AS name)
    SELECT 1 AS turn, conname AS name,
           format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS dropping,
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname,
                  pg_get_constraintdef(oid)) AS creating,
           format('COMMENT ON CONSTRAINT %I ON %s IS %L', conname, conrelid::regclass,
                  obj_description(oid, 'pg_constraint')) AS commenting
    FROM pg_constraint WHERE conrelid IN (SELECT id FROM filled) AND contype = 'f'
    UNION ALL
    SELECT 2, conname,
           format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname,
                  pg_get_constraintdef(oid)),
           format('COMMENT ON CONSTRAINT %I ON %s IS %L', conname, conrelid::regclass,
                  obj_description(oid, 'pg_constraint'))
    FROM pg_constraint WHERE conrelid IN (SELECT id FROM filled) AND contype = 'u'
    UNION ALL
    SELECT 3, i.indexrelid::regclass::text,
           format('DROP INDEX %s', i.indexrelid::regclass),
           pg_get_indexdef(i.indexrelid),
           format('COMMENT ON INDEX %s IS %L', i.indexrelid::regclass,
                  obj_description(i.indexrelid, 'pg_class'))
    FROM pg_index i WHERE i.indrelid IN (SELECT id FROM filled)
      AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
    ORDER BY turn, name
"""
