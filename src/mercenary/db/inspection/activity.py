"""Who waits for whom, and who keeps others waiting: locks and transactions that are open for long.

A statement's text is what was prepared, so it holds no values of anybody's.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Session(msgspec.Struct, frozen=True):
    """A session that waits for a lock, or that another one waits for. Times are seconds.

    `blocked_by` are process ids, empty where it waits for nobody; 0 is a prepared transaction.
    `wants` is the mode of the lock it waits for and `on` what it locks, both None where it has all.
    """

    pid: int
    application: str
    user: str
    state: str
    transaction_seconds: float
    statement_seconds: float
    blocked_by: Sequence[int]
    wants: str | None
    on: str | None
    statement: str


_SESSIONS = text("""
WITH waiting AS MATERIALIZED (
    SELECT pid, pg_blocking_pids(pid) AS blockers
    FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
)
SELECT a.pid, a.application_name, coalesce(a.usename, ''), coalesce(a.state, ''),
       coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8,
       coalesce(extract(epoch FROM clock_timestamp() - a.query_start), 0)::float8,
       coalesce(w.blockers, '{}'), l.mode,
       coalesce(l.relation::regclass::text, l.locktype),
       left(regexp_replace(a.query, '\\s+', ' ', 'g'), 200)
FROM pg_stat_activity a
LEFT JOIN waiting w ON w.pid = a.pid
LEFT JOIN LATERAL (
    SELECT mode, relation, locktype FROM pg_locks WHERE pid = a.pid AND NOT granted LIMIT 1
) l ON true
WHERE w.pid IS NOT NULL OR a.pid IN (SELECT unnest(blockers) FROM waiting)
ORDER BY a.xact_start, a.pid
""")


async def locks(db: AsyncConnection) -> Sequence[Session]:
    """Those who wait for a lock in this database and those they wait for, the oldest first."""
    return [Session(*row) for row in await db.execute(_SESSIONS)]


class OpenTransaction(msgspec.Struct, frozen=True):
    """A transaction that has been open for long. Times are seconds.

    `held_back` is how many transactions ago the oldest row version is that vacuum must keep for it.
    """

    pid: int
    application: str
    user: str
    state: str
    transaction_seconds: float
    state_seconds: float
    held_back: int
    statement: str


class PreparedTransaction(msgspec.Struct, frozen=True):
    """A transaction of two phases that nobody has ended."""

    name: str
    seconds: float
    held_back: int


class Slot(msgspec.Struct, frozen=True):
    """A replication slot that nobody reads from, and the log in bytes that is kept for it."""

    name: str
    kept_bytes: int
    held_back: int


class Long(msgspec.Struct, frozen=True):
    """Whatever keeps rows, locks or the log for longer than it should."""

    transactions: Sequence[OpenTransaction]
    prepared: Sequence[PreparedTransaction]
    slots: Sequence[Slot]


_TRANSACTIONS = text("""
SELECT pid, application_name, coalesce(usename, ''), coalesce(state, ''),
       extract(epoch FROM clock_timestamp() - xact_start)::float8,
       coalesce(extract(epoch FROM clock_timestamp() - state_change), 0)::float8,
       coalesce(age(backend_xmin), 0),
       left(regexp_replace(query, '\\s+', ' ', 'g'), 200)
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND xact_start < clock_timestamp() - make_interval(secs => :over)
ORDER BY xact_start
""")
_PREPARED = text("""
SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::float8, age(transaction)
FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - make_interval(secs => :over)
ORDER BY prepared
""")
_SLOTS = text("""
SELECT slot_name,
       coalesce(pg_wal_lsn_diff(
           CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
                ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint,
       coalesce(greatest(age(xmin), age(catalog_xmin)), 0)
FROM pg_replication_slots WHERE NOT active
ORDER BY slot_name
""")


async def long(db: AsyncConnection, over: float) -> Long:
    """Transactions open for more than `over` seconds, and slots that nobody reads from."""
    asked = {"over": over}
    return Long(
        [OpenTransaction(*row) for row in await db.execute(_TRANSACTIONS, asked)],
        [PreparedTransaction(*row) for row in await db.execute(_PREPARED, asked)],
        [Slot(*row) for row in await db.execute(_SLOTS)],
    )


class Connected(msgspec.Struct, frozen=True):
    """The connections of one application in one state; the oldest has been in it for so long."""

    application: str
    state: str
    count: int
    oldest_seconds: float


class Connections(msgspec.Struct, frozen=True):
    """All connections to the server beside how many it takes, the reserved ones among them."""

    used: int
    limit: int
    reserved: int
    groups: Sequence[Connected]


_CONNECTED = text("""
SELECT application_name, coalesce(state, '') AS state, count(*),
       max(extract(epoch FROM clock_timestamp() - coalesce(state_change, backend_start)))::float8
FROM pg_stat_activity WHERE backend_type = 'client backend'
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
""")
_LIMITS = text("""
SELECT current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
""")


async def connections(db: AsyncConnection) -> Connections:
    """Who is connected to the server, in whatever database."""
    groups = [Connected(*row) for row in await db.execute(_CONNECTED)]
    limit, reserved = (await db.execute(_LIMITS)).one()
    return Connections(sum(group.count for group in groups), limit, reserved, groups)
