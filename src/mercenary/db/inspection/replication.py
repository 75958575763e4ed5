"""Who follows a server, how far they are, and what is kept for those that are away.

A server that follows another is asked the same, and says whom it follows itself.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Follower(msgspec.Struct, frozen=True):
    """A server that takes the log from the one that is asked.

    `state` is `streaming` once it has caught up for the first time. `synchronous` is PostgreSQL's
    sync_state: `async`, `potential`, or `sync` and `quorum`, for which commits wait. Positions are
    those that it has told of, None where the role may not see them (pg_monitor may). The lag is
    what it hasn't replayed yet, in bytes of log, and in seconds since that was written.
    """

    name: str
    address: str
    state: str | None
    synchronous: str | None
    sent: str | None
    flushed: str | None
    replayed: str | None
    unflushed_bytes: int | None
    lag_bytes: int | None
    lag_seconds: float | None
    slot: str | None

    @property
    def counts(self) -> bool:
        """Whether a commit may be acknowledged because this one has it."""
        return self.state == "streaming" and self.synchronous in ("sync", "quorum")


class Slot(msgspec.Struct, frozen=True):
    """What keeps the log for a follower, so many bytes of it, also while that is away.

    `state` is PostgreSQL's wal_status: `reserved`, `extended`, `unreserved` (about to be lost),
    `lost`: the follower has to be copied anew. `left_bytes` may be written until then, None where
    nothing bounds it.
    """

    name: str
    kind: str
    active: bool
    state: str | None
    kept_bytes: int | None
    left_bytes: int | None


class Following(msgspec.Struct, frozen=True):
    """What a server that follows another says of that. `received` is on its disk.

    `source` and `state` are None while nothing comes. The lag is what has come and isn't replayed;
    what hasn't come only the other one knows.
    """

    source: str | None
    state: str | None
    received: str | None
    replayed: str | None
    lag_bytes: int | None
    lag_seconds: float | None
    slot: str | None
    paused: bool


class Replication(msgspec.Struct, frozen=True):
    """A server, whom it follows (nobody: it is the primary), and who follows it.

    `position` is the end of its log, or what it has replayed. `quorum` is its setting
    synchronous_standby_names, empty where commits wait for nobody.
    """

    timeline: int | None
    position: str | None
    quorum: str
    following: Following | None
    followers: Sequence[Follower]
    slots: Sequence[Slot]


# A hint on a row that nobody has flushed is no lag, so the log ends at what is flushed.
_END = """
CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END
"""
_HERE = text(f"""
SELECT pg_is_in_recovery(), ({_END})::text, current_setting('synchronous_standby_names'),
       CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli FROM pg_stat_wal_receiver)
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int END
""")  # noqa: S608 - constants of ours
# The measured lag is that of the last answer: of one that has gone silent the silence is added.
_FOLLOWERS = text(f"""
SELECT r.application_name, coalesce(host(r.client_addr), 'socket'), r.state, r.sync_state,
       r.sent_lsn::text, r.flush_lsn::text, r.replay_lsn::text,
       greatest(pg_wal_lsn_diff(here.lsn, r.flush_lsn), 0)::bigint,
       greatest(pg_wal_lsn_diff(here.lsn, r.replay_lsn), 0)::bigint,
       CASE WHEN r.replay_lsn >= here.lsn THEN 0.0 ELSE extract(epoch FROM greatest(
           r.replay_lag, clock_timestamp() - r.reply_time)) END::float8,
       s.slot_name
FROM (SELECT {_END} AS lsn) here
CROSS JOIN pg_stat_replication r
LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
ORDER BY r.application_name, r.pid
""")  # noqa: S608
_SLOTS = text(f"""
SELECT slot_name, slot_type, active, wal_status,
       greatest(pg_wal_lsn_diff({_END}, restart_lsn), 0)::bigint, safe_wal_size
FROM pg_replication_slots ORDER BY slot_name
""")  # noqa: S608
_FOLLOWING = text("""
SELECT w.sender_host || ':' || w.sender_port, w.status,
       pg_last_wal_receive_lsn()::text, pg_last_wal_replay_lsn()::text,
       greatest(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint,
       CASE WHEN pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() THEN 0.0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
       END::float8,
       w.slot_name, pg_is_wal_replay_paused()
FROM (SELECT) here LEFT JOIN pg_stat_wal_receiver w ON true
""")


async def replication(db: AsyncConnection) -> Replication:
    """Who follows the server that is asked, and whom it follows."""
    follows, position, quorum, timeline = (await db.execute(_HERE)).one()
    following = (await db.execute(_FOLLOWING)).one() if follows else None
    return Replication(
        timeline,
        position,
        quorum,
        Following(*following) if following is not None else None,
        [Follower(*row) for row in await db.execute(_FOLLOWERS)],
        [Slot(*row) for row in await db.execute(_SLOTS)],
    )
