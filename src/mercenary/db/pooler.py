"""What differs when a pooler stands between us and PostgreSQL (`MERCENARY_POOLER`).

PgBouncer in transaction mode gives each transaction whatever server connection is free, so nothing
may be left on one for later: no setting of the session, no prepared statement by name (before
PgBouncer 1.21), no bound that came with the connection. Then every transaction brings its bounds
with its BEGIN, in the same trip, and what is read is read in a transaction, too.

Use `connect_args` wherever an engine is made, and `is_pooled` where a session's state would do.
"""

from typing import Any, Final

import asyncpg

from mercenary.settings import Settings

_CONNECT_SECONDS: Final = 5.0
# A client-side bound behind the server's own: it only ever fires when the server can't answer.
_COMMAND_MARGIN_SECONDS: Final = 5.0

UNNAMED: Final = {"statement_cache_size": 0}
"""What has asyncpg leave no statement behind: each is parsed once for its types, and once more in
the trip that runs it. Commands that go their own way always connect so."""
UNNAMED_STATEMENTS: Final[dict[str, Any]] = UNNAMED | {
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": str,
}
"""The same for an engine of SQLAlchemy's."""


class _BoundedConnection(asyncpg.Connection):  # type: ignore[misc]  # it has no types
    """A connection whose transactions begin with their bounds."""

    bounds = ""

    async def execute(self, query: str, *arguments: Any, **options: Any) -> str:
        """As asyncpg's own, by which its transactions begin."""
        if not arguments and query.startswith("BEGIN"):
            query += self.bounds
        status: str = await super().execute(query, *arguments, **options)
        return status


def is_pooled(settings: Settings) -> bool:
    """Whether the next transaction may be on another session."""
    return settings.pooler != "none"


def connect_args(settings: Settings, statement_timeout: float) -> dict[str, Any]:
    """What an engine gives the driver; `statement_timeout` is seconds."""
    arguments: dict[str, Any] = {
        "timeout": _CONNECT_SECONDS,
        "command_timeout": statement_timeout + _COMMAND_MARGIN_SECONDS,
    }
    bounds = _bounds(settings, statement_timeout)
    if not is_pooled(settings):
        return arguments | {"server_settings": {"application_name": "mercenary", **bounds}}

    async def connect(*given: Any, **options: Any) -> asyncpg.Connection:
        connection = await asyncpg.connect(*given, connection_class=_BoundedConnection, **options)
        connection.bounds = "".join(f"SET LOCAL {name} = '{bounds[name]}';" for name in bounds)
        return connection

    # The only one of ours that PgBouncer takes from a client.
    arguments["server_settings"] = {"application_name": "mercenary"}
    arguments["async_creator_fn"] = connect
    if settings.pooler == "transaction":
        arguments |= UNNAMED_STATEMENTS
    return arguments


def _bounds(settings: Settings, statement_timeout: float) -> dict[str, str]:
    return {
        "statement_timeout": f"{statement_timeout * 1000:.0f}",
        "lock_timeout": f"{settings.lock_timeout * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{settings.request_deadline * 1000:.0f}",
        "jit": "off",
    }
