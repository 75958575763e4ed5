"""Writes that may be sent twice and happen once.

A caller names a write by a key of its own. The key is stored in the write's transaction with the
answer that the write got, so whoever sends it again, to whichever worker and after whatever crash,
is given that answer. `WriteBatch` calls `once` around what it runs; `http.idempotency` makes the
claims. A write that fails stores nothing, and may be tried again under the same key.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    and_,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.arrays import array_of, columns_of, rows_of
from mercenary.db.changes import Changes
from mercenary.db.locks import Lock
from mercenary.db.metadata import by, index, metadata, moment
from mercenary.db.topology import is_sharded
from mercenary.errors import IdempotencyKeyInUse, IdempotencyKeyReused

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")
Key = tuple[int, bytes]

LIFETIME: Final = timedelta(hours=24)
GUEST_ID: Final = 0

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("user_id", BigInteger, nullable=False, autoincrement=False, comment="0: a guest"),
    moment("created_at"),
    Column("key_hash", LargeBinary, nullable=False, comment="of the caller, the route and the key"),
    Column(
        "fingerprint",
        LargeBinary,
        nullable=False,
        comment="of the request, by which another one is told",
    ),
    Column(
        "answer",
        LargeBinary,
        nullable=False,
        comment="sealed by a key that only the request itself gives",
    ),
    PrimaryKeyConstraint("user_id", "key_hash"),
    index(
        "idx_idempotency_keys_created",
        "created_at",
        query="idempotency.expired",
        serves="the clean-up of keys that have expired",
    ),
    info=by("user_id"),
    comment="writes that were answered, to be answered alike for 24 hours",
)


class Claim(msgspec.Struct, frozen=True, eq=False):
    """One request's claim to a key. `seal` turns the write's outcome into the stored answer."""

    key: Key
    fingerprint: bytes
    seal: Callable[[Any], bytes]


class Stored(msgspec.Struct, frozen=True):
    """The answer that a write got, and the fingerprint of the request that asked for it."""

    fingerprint: bytes
    answer: bytes

    def for_request(self, fingerprint: bytes) -> bytes:
        """The answer, for the request that it was given to.

        Raises:
            IdempotencyKeyReused: this is another request.
        """
        if self.fingerprint != fingerprint:
            raise IdempotencyKeyReused
        return self.answer


class ReplayedError(Exception):
    """Not a failure but the outcome of a write that happened before: its sealed answer."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer)
        self.answer = answer


current_claim: ContextVar[Claim | None] = ContextVar("current_claim", default=None)
"""The claim of the request under way. Its one write is made under it."""

_IN_FORCE = idempotency_keys.c.created_at > func.now() - literal(LIFETIME)
_keys = select(idempotency_keys.c.user_id, idempotency_keys.c.key_hash)
_answers = _keys.add_columns(idempotency_keys.c.fingerprint, idempotency_keys.c.answer).where(
    _IN_FORCE
)
_ASKED = rows_of("asked", user_id=BigInteger(), key_hash=LargeBinary())
_STORED = _answers.where(
    tuple_(idempotency_keys.c.user_id, idempotency_keys.c.key_hash).in_(
        select(_ASKED.c.user_id, _ASKED.c.key_hash)
    )
)
# By two lists a cluster asks only the shards of these users. A hash is of its caller, too, so
# nothing is mixed up.
_STORED_ON_SHARDS = _answers.where(
    idempotency_keys.c.user_id == func.any(array_of("asked_user_id", BigInteger())),
    idempotency_keys.c.key_hash == func.any(array_of("asked_key_hash", LargeBinary())),
)


async def select_answers(db: AsyncConnection, keys: Sequence[Key]) -> Mapping[Key, Stored]:
    """The answers that are stored under these keys and in force."""
    statement = _STORED_ON_SHARDS if is_sharded(db) else _STORED
    rows = await db.execute(statement, columns_of("asked", _ASKED.c.keys(), keys))
    return {(row.user_id, row.key_hash): Stored(row.fingerprint, row.answer) for row in rows}


_CLAIMED = rows_of(
    "claimed", number=Integer(), lock=BigInteger(), user_id=BigInteger(), key_hash=LargeBinary()
)
# Locked and looked up in one trip. The snapshot is older than the lock, so a key that another
# transaction stored in between may be missed; storing it a second time then fails, and the batch
# is run again.
_LOCKED = (
    select(
        _CLAIMED.c.number,
        func.pg_try_advisory_xact_lock(_CLAIMED.c.lock).label("held"),
        idempotency_keys.c.fingerprint,
        idempotency_keys.c.answer,
    )
    .select_from(
        _CLAIMED.outerjoin(
            idempotency_keys,
            and_(
                idempotency_keys.c.user_id == _CLAIMED.c.user_id,
                idempotency_keys.c.key_hash == _CLAIMED.c.key_hash,
                _IN_FORCE,
            ),
        )
    )
    .offset(0)  # keeps the planner from taking locks more often than once a row
    .subquery("locked")
)
# Most keys are new, so only what can't be run comes back.
_UNAVAILABLE = select(_LOCKED).where(or_(~_LOCKED.c.held, _LOCKED.c.answer.is_not(None)))
# A cluster doesn't join what it is given with what lies on its shards: there it takes two trips.
_UNAVAILABLE_ON_SHARDS = select(
    _CLAIMED.c.number, func.pg_try_advisory_xact_lock(_CLAIMED.c.lock).label("held")
)
_NEW = rows_of(
    "new",
    user_id=BigInteger(),
    key_hash=LargeBinary(),
    fingerprint=LargeBinary(),
    answer=LargeBinary(),
)
_insert = upsert(idempotency_keys).from_select(
    [*_NEW.c.keys(), "created_at"], select(*_NEW.c, func.now())
)
# A key that has expired and wasn't cleaned up yet begins anew. On a cluster, nothing but immutable
# functions may decide what a conflict leads to: no now(), no time less an interval.
_STORE = _insert.on_conflict_do_update(
    index_elements=[idempotency_keys.c.user_id, idempotency_keys.c.key_hash],
    set_={
        "created_at": _insert.excluded.created_at,
        "fingerprint": _insert.excluded.fingerprint,
        "answer": _insert.excluded.answer,
    },
    where=_insert.excluded.created_at - idempotency_keys.c.created_at >= literal(LIFETIME),
)


async def once(
    tx: AsyncConnection,
    asks: Sequence[tuple[Ask, Claim | None]],
    change: Callable[[AsyncConnection, Sequence[Ask]], Awaitable[Sequence[Answer | Exception]]],
) -> Sequence[Answer | Exception]:
    """Change what wasn't changed before, and store the answers of claimed asks.

    An ask whose key is stored has ReplayedError as its outcome, or IdempotencyKeyReused when the
    request is another; one whose key another transaction holds has IdempotencyKeyInUse. A key that
    comes twice in the batch is run for its first ask, and the others get that one's outcome.

    Raises:
        ConflictingKeysError: a key was stored by others meanwhile; nothing may be committed.
    """
    claims = {number: claim for number, (_, claim) in enumerate(asks) if claim is not None}
    if not claims:
        return await change(tx, [ask for ask, _ in asks])
    first: dict[Key, int] = {}
    for number, claim in claims.items():
        first.setdefault(claim.key, number)
    outcomes = await _judged(tx, [(number, claims[number]) for number in first.values()])
    running = [
        number
        for number in range(len(asks))
        if number not in outcomes and (number not in claims or first[claims[number].key] == number)
    ]
    changed = await change(tx, [asks[number][0] for number in running]) if running else []
    answers: dict[int, bytes] = {}
    for number, outcome in zip(running, changed, strict=True):
        outcomes[number] = outcome
        if number in claims and not isinstance(outcome, Exception):
            answers[number] = claims[number].seal(outcome)
    await _store(tx, [(claims[number], answer) for number, answer in answers.items()])
    for number, claim in claims.items():
        if number not in outcomes:
            leader = first[claim.key]
            outcomes[number] = _as_follower(
                claim, claims[leader], outcomes[leader], answers.get(leader)
            )
    return [outcomes[number] for number in range(len(asks))]


class ConflictingKeysError(Exception):
    """Another transaction stored one of the keys after this one had looked."""


async def _judged(tx: AsyncConnection, claims: Sequence[tuple[int, Claim]]) -> dict[int, Any]:
    """The outcomes of those that aren't to be run, by number."""
    rows = [
        (number, int.from_bytes(claim.key[1][:8], "big", signed=True), *claim.key)
        for number, claim in claims
    ]
    asked = columns_of("claimed", _CLAIMED.c.keys(), rows)
    outcomes: dict[int, Any] = {}
    if is_sharded(tx):
        locked = dict(map(tuple, (await tx.execute(_UNAVAILABLE_ON_SHARDS, asked)).all()))
        answers = await select_answers(tx, [claim.key for _, claim in claims])
        for number, claim in claims:
            if claim.key in answers:
                outcomes[number] = _replay(answers[claim.key], claim)
            elif not locked[number]:
                outcomes[number] = IdempotencyKeyInUse()
        return outcomes
    by_number = dict(claims)
    for row in await tx.execute(_UNAVAILABLE, asked):
        if row.answer is not None:
            stored = Stored(row.fingerprint, row.answer)
            outcomes[row.number] = _replay(stored, by_number[row.number])
        else:
            outcomes[row.number] = IdempotencyKeyInUse()
    return outcomes


def _replay(stored: Stored, claim: Claim) -> Exception:
    try:
        return ReplayedError(stored.for_request(claim.fingerprint))
    except IdempotencyKeyReused as problem:
        return problem


def _as_follower(claim: Claim, leader: Claim, outcome: Any, answer: bytes | None) -> Exception:
    """The outcome of an ask whose key came before in the same batch."""
    if claim.fingerprint != leader.fingerprint:
        return IdempotencyKeyReused()
    if answer is not None:
        return ReplayedError(answer)
    return outcome if isinstance(outcome, Exception) else IdempotencyKeyInUse()


async def _store(tx: AsyncConnection, answers: Sequence[tuple[Claim, bytes]]) -> None:
    if not answers:
        return
    # In order, so that two batches that store the same keys wait and never deadlock.
    rows = sorted((*claim.key, claim.fingerprint, answer) for claim, answer in answers)
    stored = await tx.execute(_STORE, columns_of("new", _NEW.c.keys(), rows))
    if stored.rowcount != len(rows):
        raise ConflictingKeysError


_HAS_EXPIRED = idempotency_keys.c.created_at < func.now() - literal(LIFETIME)
_EXPIRED = (
    _keys.where(_HAS_EXPIRED)
    .order_by(idempotency_keys.c.created_at)
    .limit(bindparam("rows", type_=Integer()))
)
_LOCK_EXPIRED = Lock(
    _keys.where(_HAS_EXPIRED),
    waits=False,
    user_id=idempotency_keys.c.user_id,
    key_hash=idempotency_keys.c.key_hash,
)
_DELETE = Changes(
    delete(idempotency_keys).where(
        idempotency_keys.c.user_id == _ASKED.c.user_id,
        idempotency_keys.c.key_hash == _ASKED.c.key_hash,
    ),
    _ASKED,
)


async def remove_expired(tx: AsyncConnection, rows: int) -> int:
    """Remove up to `rows` keys that aren't in force any more; how many those were."""
    expired = (await tx.execute(_EXPIRED, {"rows": rows})).all()
    held = await _LOCK_EXPIRED.hold(tx, map(tuple, expired))
    if held:
        await _DELETE.store(tx, held)
    return len(held)
