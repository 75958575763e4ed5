"""Who waits for whom, and who keeps others waiting: locks and transactions that are open for long.

A statement's text is what was prepared, so it holds no values of anybody's. A role that may not see
what others do (`privileges.py`) is told who waits for whom all the same, by the locks.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.inspection.privileges import Role, role


class Session(msgspec.Struct, frozen=True):
    """A session that waits for a lock, or that another one waits for. Times are seconds.

    `blocked_by` are process ids, empty where it waits for nobody; 0 is a prepared transaction.
    `wants` is the mode of the lock it waits for and `on` what it locks, both None where it has all.
    `remedy` ends what others wait for here; None for who only waits.
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
    remedy: str | None


class Locks(msgspec.Struct, frozen=True):
    """Who waits and who is waited for, the oldest transaction first, as `role` may see it."""

    role: Role
    sessions: Sequence[Session]


_SESSIONS = text("""
WITH waiting AS MATERIALIZED (
    SELECT pid, pg_blocking_pids(pid) AS blockers
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid IN (SELECT pid FROM pg_locks WHERE NOT granted)
)
SELECT a.pid, a.application_name, coalesce(a.usename, ''), coalesce(a.state, ''),
       coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8,
       coalesce(extract(epoch FROM clock_timestamp() - a.query_start), 0)::float8,
       coalesce(w.blockers, '{}'), l.mode,
       coalesce(l.relation::regclass::text, l.locktype),
       left(regexp_replace(a.query, '\\s+', ' ', 'g'), 200),
       -- A session that does nothing has nothing to cancel: its transaction ends with it.
       CASE WHEN w.pid IS NULL THEN
           format('SELECT pg_%s_backend(%s)',
                  CASE WHEN a.state LIKE 'idle%' THEN 'terminate' ELSE 'cancel' END, a.pid)
       END
FROM pg_stat_activity a
LEFT JOIN waiting w ON w.pid = a.pid
LEFT JOIN LATERAL (
    SELECT mode, relation, locktype FROM pg_locks WHERE pid = a.pid AND NOT granted LIMIT 1
) l ON true
WHERE w.pid IS NOT NULL OR a.pid IN (SELECT unnest(blockers) FROM waiting)
ORDER BY a.xact_start, a.pid
""")


async def locks(db: AsyncConnection) -> Locks:
    """Those who wait for a lock in this database and those they wait for."""
    return Locks(await role(db), [Session(*row) for row in await db.execute(_SESSIONS)])


class OpenTransaction(msgspec.Struct, frozen=True):
    """A transaction that has been open for long. Times are seconds.

    `held_back` is how many transactions ago the oldest row version is that vacuum must keep for it.
    `remedy` ends it.
    """

    pid: int
    application: str
    user: str
    state: str
    transaction_seconds: float
    state_seconds: float
    held_back: int
    statement: str
    remedy: str


class PreparedTransaction(msgspec.Struct, frozen=True):
    """A transaction of two phases that nobody has ended."""

    name: str
    seconds: float
    held_back: int
    remedy: str


class Slot(msgspec.Struct, frozen=True):
    """A replication slot that nobody reads from, and the log in bytes that is kept for it."""

    name: str
    kept_bytes: int
    held_back: int
    remedy: str


class Long(msgspec.Struct, frozen=True):
    """Whatever keeps rows, locks or the log for longer than it should, as `role` may see it."""

    role: Role
    transactions: Sequence[OpenTransaction]
    prepared: Sequence[PreparedTransaction]
    slots: Sequence[Slot]


_TRANSACTIONS = text("""
SELECT pid, application_name, coalesce(usename, ''), coalesce(state, ''),
       extract(epoch FROM clock_timestamp() - xact_start)::float8,
       coalesce(extract(epoch FROM clock_timestamp() - state_change), 0)::float8,
       coalesce(age(backend_xmin), 0),
       left(regexp_replace(query, '\\s+', ' ', 'g'), 200),
       format('SELECT pg_%s_backend(%s)',
              CASE WHEN state LIKE 'idle%' THEN 'terminate' ELSE 'cancel' END, pid)
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND xact_start < clock_timestamp() - make_interval(secs => :over)
ORDER BY xact_start LIMIT :most
""")
_PREPARED = text("""
SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::float8, age(transaction),
       format('ROLLBACK PREPARED %L', gid)
FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - make_interval(secs => :over)
ORDER BY prepared LIMIT :most
""")
_SLOTS = text("""
SELECT slot_name,
       coalesce(pg_wal_lsn_diff(
           CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
                ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint,
       coalesce(greatest(age(xmin), age(catalog_xmin)), 0),
       format('SELECT pg_drop_replication_slot(%L)', slot_name)
FROM pg_replication_slots WHERE NOT active
ORDER BY slot_name LIMIT :most
""")


async def long(db: AsyncConnection, over: float, *, most: int) -> Long:
    """Transactions open for more than `over` seconds, and slots that nobody reads from.

    Up to `most` of each, the longest first.
    """
    asked = {"over": over, "most": most}
    return Long(
        await role(db),
        [OpenTransaction(*row) for row in await db.execute(_TRANSACTIONS, asked)],
        [PreparedTransaction(*row) for row in await db.execute(_PREPARED, asked)],
        [Slot(*row) for row in await db.execute(_SLOTS, {"most": most})],
    )


class Connected(msgspec.Struct, frozen=True):
    """The connections of one application in one state; the oldest has been in it for so long.

    What is hidden from whoever asks has the state `hidden`, and no age.
    """

    application: str
    state: str
    count: int
    oldest_seconds: float | None


class Connections(msgspec.Struct, frozen=True):
    """All connections to the server beside how many it takes, the reserved ones among them.

    `role` is who asks.
    """

    role: Role
    used: int
    limit: int
    reserved: int
    groups: Sequence[Connected]


_CONNECTED = text("""
SELECT application_name,
       CASE WHEN backend_type IS NULL THEN 'hidden' ELSE coalesce(state, '') END, count(*),
       max(extract(epoch FROM clock_timestamp() - coalesce(state_change, backend_start)))::float8
FROM pg_stat_activity
-- Of others' sessions a role may see little more than whose they are.
WHERE backend_type = 'client backend'
   OR (backend_type IS NULL AND usename IS NOT NULL AND datname IS NOT NULL)
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
""")
# Since PostgreSQL 16 some may be kept for the role pg_use_reserved_connections besides.
_LIMITS = text("""
SELECT current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true)::int, 0)
""")


async def connections(db: AsyncConnection) -> Connections:
    """Who is connected to the server, in whatever database."""
    groups = [Connected(*row) for row in await db.execute(_CONNECTED)]
    limit, reserved = (await db.execute(_LIMITS)).one()
    used = sum(group.count for group in groups)
    return Connections(await role(db), used, limit, reserved, groups)
