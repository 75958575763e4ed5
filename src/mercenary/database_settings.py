"""The settings of the database: where it is, its pool, its bounds, its batches.

They are part of `settings.Settings`, which is read there like any other.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mercenary.cdn_settings import CDNSettings
from mercenary.setting_types import Count, Seconds

DatabaseURI = Annotated[str, Meta(pattern=r"^postgres(ql)?(\+asyncpg)?://")]


class EngineOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pool of one worker: connections, and seconds; SQLAlchemy's names and meanings."""

    pool_size: Annotated[int, Meta(ge=1, le=1000)] = 20
    max_overflow: Annotated[int, Meta(ge=0, le=1000)] = 10
    pool_timeout: Seconds = 30.0
    pool_recycle: Annotated[int, Meta(ge=-1)] = 1800
    # Whether a connection is asked if it lives before it is lent: each time, after it was idle for
    # `pool_ping_after`, or not at all. SQLAlchemy's true and false are the first and the last.
    pool_pre_ping: bool | Literal["always", "idle", "never"] = "idle"
    # The ones in use are then the same few, and the others grow old enough to be let go.
    pool_use_lifo: bool = True


class DatabaseSettings(CDNSettings, frozen=True, kw_only=True):
    """Times are seconds. The base is a CDN's only because structs inherit in one line."""

    # None: `mercenary up` starts a server of its own.
    sqlalchemy_database_uri: DatabaseURI | None = None
    sqlalchemy_engine_options: EngineOptions = EngineOptions()
    # Whether the tables are spread over a Citus cluster; None: the database is asked.
    sharded: bool | None = None

    # Replicas of that server, each with an address of its own; in the environment with commas
    # between them. One that may be further behind than the lag answers nobody. What it has got to
    # is asked for so often.
    replica_uris: tuple[DatabaseURI, ...] = ()
    replica_lag: Annotated[float, Meta(ge=0.01, le=5)] = 0.1
    replica_probe: Seconds = 0.025

    # What `mercenary up` runs beside its own server: so many standbys, of which so many, whichever
    # are first, must have a commit on their disks before it is acknowledged.
    replicas: Annotated[int, Meta(ge=0, le=16)] = 0
    synchronous_replicas: Annotated[int, Meta(ge=0, le=16)] = 0

    # PgBouncer in transaction mode in front of it: without prepared statements as before its 1.21,
    # or with them (`max_prepared_statements` in its configuration).
    pooler: Literal["none", "transaction", "transaction-prepared"] = "none"
    pool_ping_after: Seconds = 5.0

    statement_timeout: Seconds = 5.0
    lock_timeout: Seconds = 2.0
    # Connections of a worker that carry its batches: the design's figures come from two to four.
    batch_lanes: Annotated[int, Meta(ge=1, le=64)] = 4
    batch_size: Annotated[int, Meta(ge=1, le=10_000)] = 256
    batch_waiting: Count = 4096
