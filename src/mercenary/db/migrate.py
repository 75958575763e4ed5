"""Brings a database's schema up to date, and tells whether it is.

`mercenary up` and `mercenary migrate` call `upgrade`; `migrate --check` and readiness, `pending`.
All that is missing is applied in one transaction under an advisory lock, so a migration either
happened or didn't, and of several processes that start at once one migrates and the others wait.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from mercenary.db.faults import lost_connection, sqlstate
from mercenary.db.pooler import UNNAMED_STATEMENTS
from mercenary.db.uri import asyncpg_url
from mercenary.settings import SetupError

SCRIPTS: Final = Path(__file__).parent / "migrations"
# "mercenar" in ASCII, so that no other application on the server takes the same lock by chance.
LOCK_KEY: Final = int.from_bytes(b"mercenar", "big")
LOCK_WAIT_SECONDS: Final = 60.0
# A migration that can't lock a table within this time gives up rather than make everybody queue
# behind it; one statement may take as long as rewriting a large table does.
TABLE_LOCK_SECONDS: Final = 5.0
STATEMENT_SECONDS: Final = 1800.0
CONNECT_SECONDS: Final = 10.0
_LOCK_NOT_AVAILABLE: Final = "55P03"


class MigrationError(SetupError):
    """The schema can't be read or changed: one line of what is wrong and what to do."""


async def upgrade(uri: str, *, lock_wait: float = LOCK_WAIT_SECONDS) -> list[str]:
    """Apply what is missing, oldest first, and return the revisions that were applied.

    Raises:
        MigrationError: the database can't be reached, another process migrates for longer than
            `lock_wait` seconds, a table stays locked, or the schema is newer than this program.
    """
    async with _connection(uri) as connection:
        await _take_lock(connection, lock_wait)
        missing = await connection.run_sync(_missing)
        if missing:
            await _use_one_connection(connection)
            await connection.run_sync(_apply)
            await connection.commit()
        return missing


async def pending(uri: str) -> list[str]:
    """The revisions that `upgrade` would apply, oldest first.

    Raises:
        MigrationError: the database can't be reached, or its schema is newer than this program.
    """
    async with _connection(uri) as connection:
        return await connection.run_sync(_missing)


def heads() -> frozenset[str]:
    """The revisions of a schema that is up to date. Reads the scripts: slow, so ask once."""
    return frozenset(ScriptDirectory.from_config(_config()).get_heads())


@asynccontextmanager
async def _connection(uri: str) -> AsyncIterator[AsyncConnection]:
    try:
        engine = create_async_engine(
            asyncpg_url(uri),
            poolclass=NullPool,
            connect_args={"timeout": CONNECT_SECONDS, **UNNAMED_STATEMENTS},
        )
    except (ArgumentError, ValueError) as error:
        raise MigrationError(f"The database's URI can't be used: {error}") from error
    try:
        async with engine.connect() as connection:
            await _set_timeouts(connection, lock_seconds=TABLE_LOCK_SECONDS)
            yield connection
    except (DBAPIError, OSError, TimeoutError) as error:
        raise _explained(error) from error
    except (CommandError, RevisionError) as error:
        raise MigrationError(
            f"The database's schema is not one that this version of mercenary knows ({error}); "
            "run the version that made it, or a newer one"
        ) from error
    finally:
        await engine.dispose()


async def _set_timeouts(connection: AsyncConnection, *, lock_seconds: float) -> None:
    settings = {"lock_timeout": lock_seconds, "statement_timeout": STATEMENT_SECONDS}
    for name, seconds in settings.items():
        await connection.execute(
            text("SELECT set_config(:name, :value, true)"),
            {"name": name, "value": f"{seconds * 1000:.0f}"},
        )


async def _use_one_connection(connection: AsyncConnection) -> None:
    """Have a cluster (Citus) use one for each server: else it refuses to change rows and tables
    in one transaction. Anybody else takes no notice."""
    await connection.execute(
        text("SELECT set_config('citus.multi_shard_modify_mode', 'sequential', true)")
    )


async def _take_lock(connection: AsyncConnection, seconds: float) -> None:
    """Hold the lock until the transaction ends; a lock of the session would outlive a pooler's."""
    await _set_timeouts(connection, lock_seconds=seconds)
    try:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
    except DBAPIError as error:
        if sqlstate(error) != _LOCK_NOT_AVAILABLE:
            raise
        raise MigrationError(
            f"Another process has been migrating this database for over {seconds:g} s; "
            "wait for it, or end it, and try again"
        ) from error
    await _set_timeouts(connection, lock_seconds=TABLE_LOCK_SECONDS)


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    # Alembic reads its options with %-interpolation, which a folder's name must survive.
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _missing(connection: Connection) -> list[str]:
    heads = MigrationContext.configure(connection).get_current_heads()
    scripts = ScriptDirectory.from_config(_config())
    newest_first = scripts.iterate_revisions("heads", heads or "base")
    return [script.revision for script in newest_first][::-1]


def _apply(connection: Connection) -> None:
    command.upgrade(_config(connection), "heads")


def _explained(error: Exception) -> MigrationError:
    reason = str(getattr(error, "orig", None) or error or type(error).__name__)
    reason = reason.splitlines()[0].split(">: ")[-1]
    state = sqlstate(error)
    if state == _LOCK_NOT_AVAILABLE:
        return MigrationError(
            f"A table is in use and couldn't be locked within {TABLE_LOCK_SECONDS:g} s; nothing "
            "was changed; try again at a quieter moment"
        )
    if state == "42501":
        return MigrationError(
            f"The database's role may not do this ({reason}); grant it CREATE on the database and "
            "on its schema, or let a role that may run `mercenary migrate`"
        )
    if state or not lost_connection(error):
        return MigrationError(f"The database refuses ({reason}); nothing was changed")
    return MigrationError(
        f"The database can't be reached ({reason}); check SQLALCHEMY_DATABASE_URI, and that the "
        "server runs"
    )
