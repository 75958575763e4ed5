"""What has changed, told in the transaction that changed it.

Whoever must act on a change (caches that forget, webhooks, mail, views) may miss a message, never a
row: a change records its events, they are inserted by the transaction that makes it, and a relay
(`events/relay.py`) takes the rows, hands them on and deletes them. So there is a row if and only
if there was a commit, and it stays until somebody has been told.

A change function calls `record`. `WriteBatch` gathers what its functions recorded; whoever else
writes does so within `telling`.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Final

import msgspec
import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    extract,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.cache import clocks
from mercenary.db.arrays import array_of, columns_of, rows_of
from mercenary.db.metadata import by, metadata, moment
from mercenary.db.positions import visible
from mercenary.db.topology import is_sharded

# Held by a transaction, never by a session: it ends with a killed relay, and behind a pooler.
LOCK_KEY: Final = int.from_bytes(b"relaying", "big")

# Drawn as the row is inserted, not in blocks as other ids are: a change to a resource is inserted
# under the resource's lock, so its events have the order of its versions.
outbox_ids = sqlalchemy.Sequence("outbox_id_seq", metadata=metadata, data_type=BigInteger())

# Rows live for a tenth of a second, so what matters is how soon their space is used again. The
# relay sees to that; autovacuum, which looks once a minute, does when there is no relay. What an
# outage has made of the table stays for the next one: giving it back would lock writers out.
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, nullable=False, autoincrement=False),
    Column("key", BigInteger, nullable=False, comment="by which the resource itself is spread"),
    Column("stamp", BigInteger, nullable=False, comment="what the change gave to the tags' clocks"),
    moment("created_at"),
    Column("version", Integer, nullable=False, comment="of the resource afterwards; 0: has none"),
    Column("name", Text, nullable=False, comment="what happened, such as project.created"),
    Column("subject", Text, nullable=False, comment="to what, such as project:17"),
    Column("tags", Text, nullable=False, comment="what caches must forget, parted by spaces"),
    PrimaryKeyConstraint("id", "key"),
    info=by("key"),
    comment="changes that others have still to be told of",
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0",
        "autovacuum_vacuum_threshold": "10000",
        "autovacuum_vacuum_insert_threshold": "-1",
        "autovacuum_vacuum_cost_delay": "0",
        "autovacuum_analyze_threshold": "1000000",
        "vacuum_truncate": "false",
    },
)


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a resource.

    `subject` is the resource as a tag, `version` its version afterwards, and `key` the value of
    its distribution column. `tags` are what shared caches must forget: nothing where nothing that
    a guest may see has changed.
    """

    name: str
    subject: str
    version: int = 0
    key: int = 0
    tags: tuple[str, ...] = ()


class Row(msgspec.Struct, frozen=True):
    """An event as it waits in the outbox; `age` is in seconds, from its transaction's start."""

    id: int
    event: Event
    stamp: int
    age: float


class Held(msgspec.Struct, frozen=True):
    """What a relay has got to hand on. `all`: there was nothing else to be seen.

    `lsn` is a place in the log before which the rows were committed; 0 without rows.
    """

    rows: Sequence[Row]
    all: bool
    lsn: int = 0


_recorded: ContextVar[list[Event]] = ContextVar("recorded")


def record(*events: Event) -> None:
    """Tell what the transaction under way changes.

    Raises:
        LookupError: nobody would insert the events.
    """
    _recorded.get().extend(events)


@contextmanager
def recording() -> Iterator[list[Event]]:
    """Gather what is recorded within the block; whoever opens it inserts the events."""
    events: list[Event] = []
    before = _recorded.set(events)
    try:
        yield events
    finally:
        _recorded.reset(before)


@asynccontextmanager
async def telling(tx: AsyncConnection) -> AsyncIterator[None]:
    """Insert what is recorded within the block into the outbox, at its end."""
    with recording() as events:
        yield
    await insert_events(tx, events, clocks.current().fresh())


def tags_of(events: Iterable[Event]) -> list[str]:
    """What caches must forget because of these events, each tag once."""
    return list(dict.fromkeys(tag for event in events for tag in event.tags))


_NEW = rows_of("new", key=BigInteger(), version=Integer(), name=Text(), subject=Text(), tags=Text())
# The condition is always true, and is looked at before the first id is drawn. So whoever has drawn
# one has a transaction id from before, which is what `events/floor.py` rests on.
_INSERT = insert(outbox).from_select(
    ["id", "stamp", *_NEW.c.keys()],
    select(outbox_ids.next_value(), bindparam("stamp", type_=BigInteger()), *_NEW.c).where(
        func.pg_current_xact_id().is_not(None)
    ),
)


async def insert_events(tx: AsyncConnection, events: Sequence[Event], stamp: int) -> None:
    """Put events into the outbox by one statement, and by none when there are none."""
    if events:
        rows = [(e.key, e.version, e.name, e.subject, " ".join(e.tags)) for e in events]
        asked: dict[str, Any] = columns_of("new", _NEW.c.keys(), rows)
        await tx.execute(_INSERT, asked | {"stamp": stamp})


_ABOVE = outbox.c.id > bindparam("floor", type_=BigInteger())


def _number(transaction: ColumnElement[Any]) -> ColumnElement[int]:
    """A transaction id (xid8) as a number, which it has no cast of its own to."""
    return cast(cast(transaction, Text()), BigInteger())


_LOOK = select(
    # In the order of ids, so that the index is used, whose dead entries cost least.
    select(outbox.c.id).where(_ABOVE).order_by(outbox.c.id).limit(1).scalar_subquery(),
    _number(func.pg_snapshot_xmin(func.pg_current_snapshot())),
    visible(),
)


_LOOK_ON_SHARDS = select(outbox.c.id).order_by(outbox.c.id).limit(1)


async def look(db: AsyncConnection, floor: int) -> tuple[bool, int, int]:
    """Whether there is a row above the id `floor`, and the lowest id of a running transaction.

    The third is a place in the log before which was committed whatever can be seen. On a cluster,
    where each server has transactions and a log of its own, all rows are looked at, and both are 0.
    """
    if is_sharded(db):
        return (await db.execute(_LOOK_ON_SHARDS)).scalar() is not None, 0, 0
    first, running, lsn = (await db.execute(_LOOK, {"floor": floor})).one()
    return first is not None, running, lsn


_TAKE_TURN = select(func.pg_try_advisory_xact_lock(literal(LOCK_KEY, BigInteger())))
_AGE = cast(extract("epoch", func.clock_timestamp() - outbox.c.created_at), sqlalchemy.Float())
_oldest = (
    select(
        outbox.c.id,
        outbox.c.stamp,
        _AGE.label("age"),
        outbox.c.name,
        outbox.c.subject,
        outbox.c.version,
        outbox.c.key,
        outbox.c.tags,
    )
    .where(_ABOVE)
    .order_by(outbox.c.id)
    .limit(bindparam("rows", type_=Integer()))
)
_OLDEST = _oldest.add_columns(visible())
# A worker's place in its own log would say nothing.
_OLDEST_ON_SHARDS = _oldest.add_columns(literal_column("0"))


async def hold_rows(tx: AsyncConnection, rows: int, *, floor: int = 0) -> Held | None:
    """Up to `rows` rows above the id `floor`, in order, for this transaction alone to hand on.

    None when it is another relay's turn. The turn is what is locked, not the rows: whoever has it
    is the only one that deletes any.
    """
    if not (await tx.execute(_TAKE_TURN)).scalar_one():
        return None
    # A statement of its own: the first one's snapshot may be older than the turn, and show rows
    # that the relay before has handed on.
    oldest = _OLDEST_ON_SHARDS if is_sharded(tx) else _OLDEST
    found = (await tx.execute(oldest, {"rows": rows, "floor": floor})).all()
    held = [
        Row(id, Event(name, subject, version, key, tuple(tags.split())), stamp, age)
        for id, stamp, age, name, subject, version, key, tags, _ in found
    ]
    return Held(held, len(held) < rows, max((row[-1] for row in found), default=0))


_delete = delete(outbox).where(outbox.c.id == func.any(array_of("ids", BigInteger())))
_DELETE = select(_number(func.pg_current_xact_id())).add_cte(_delete.cte("gone"))
_DELETE_ON_SHARDS = _delete.where(outbox.c.key == func.any(array_of("keys", BigInteger())))


async def delete_rows(tx: AsyncConnection, rows: Sequence[Row]) -> int | None:
    """Remove rows that were handed on; the id of the transaction that does.

    None where that means nothing: on a cluster each server has transactions of its own.
    """
    asked = {"ids": [row.id for row in rows]}
    if is_sharded(tx):
        await tx.execute(_DELETE_ON_SHARDS, asked | {"keys": [row.event.key for row in rows]})
        return None
    return int((await tx.execute(_DELETE, asked)).scalar_one())


class Backlog(msgspec.Struct, frozen=True):
    """What waits to be handed on: rows, up to `MOST_COUNTED`, and the oldest's age in seconds."""

    rows: int
    oldest: float


MOST_COUNTED: Final = 100_000
_WAITING = select(outbox.c.created_at).limit(MOST_COUNTED).subquery()
_BACKLOG = select(
    func.count(),
    func.coalesce(extract("epoch", func.clock_timestamp() - func.min(_WAITING.c.created_at)), 0.0),
)


async def backlog(db: AsyncConnection) -> Backlog:
    """How far behind the relay is."""
    rows, oldest = (await db.execute(_BACKLOG)).one()
    return Backlog(rows, float(oldest))


_STAMPED = (
    select(outbox.c.id).where(outbox.c.stamp == bindparam("stamp", type_=BigInteger())).limit(1)
)


async def is_handed_on(db: AsyncConnection, stamp: int) -> bool:
    """Whether a change that was committed has been handed on, by looking through all that waits."""
    return (await db.execute(_STAMPED, {"stamp": stamp})).scalar() is None


_VACUUM = text("VACUUM (SKIP_LOCKED) outbox")


async def vacuum(db: AsyncConnection) -> None:
    """Make the space of deleted rows free for new ones; outside of a transaction.

    Where the role doesn't own the table, PostgreSQL does nothing, and autovacuum has to do.
    """
    await db.execute(_VACUUM)
