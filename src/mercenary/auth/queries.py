"""All that the database is asked about credentials, sessions and refresh tokens."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Integer,
    LargeBinary,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    extract,
    func,
    insert,
    not_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.auth.tables import credentials, refresh_tokens, session_ids, sessions
from mercenary.db.arrays import array_of, columns_of, rows_of
from mercenary.db.changes import Changes
from mercenary.db.engine import current
from mercenary.db.locks import Lock
from mercenary.http.access import SessionId, UserId

SessionKey = tuple[UserId, SessionId]


class Credential(msgspec.Struct, frozen=True):
    """How an e-mail address proves who it is; the address in lower case."""

    email: str
    user_id: UserId
    password_hash: str


class StoredToken(msgspec.Struct, frozen=True):
    """A refresh token as it is kept: by its hash, with the state of its session."""

    user_id: UserId
    token_hash: bytes
    session_id: SessionId
    used: bool
    alive: bool


def _from_now(seconds: ColumnElement[int]) -> ColumnElement[datetime]:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


_credentials = select(credentials.c.email, credentials.c.user_id, credentials.c.password_hash)
_BY_EMAIL = _credentials.where(credentials.c.email == func.any(array_of("emails", Text())))


async def select_credentials(
    db: AsyncConnection, emails: Sequence[str]
) -> Mapping[str, Credential]:
    """Credentials by e-mail address in lower case."""
    rows = (await db.execute(_BY_EMAIL, {"emails": emails})).all()
    return {row.email: Credential(row.email, row.user_id, row.password_hash) for row in rows}


_HOLD_CREDENTIALS = Lock(_credentials, shared=True, email=credentials.c.email)


async def hold_credentials(tx: AsyncConnection, emails: Sequence[str]) -> Mapping[str, Credential]:
    """Credentials that nobody changes until this transaction ends."""
    rows = await _HOLD_CREDENTIALS.hold(tx, emails)
    return {row.email: Credential(row.email, row.user_id, row.password_hash) for row in rows}


_NEW_CREDENTIALS = rows_of("new", email=Text(), user_id=BigInteger(), password_hash=Text())
_INSERT_CREDENTIALS = (
    upsert(credentials)
    .from_select(list(_NEW_CREDENTIALS.c.keys()), select(*_NEW_CREDENTIALS.c))
    .on_conflict_do_nothing(index_elements=[credentials.c.email])
    .returning(credentials.c.user_id)
)


async def insert_credentials(tx: AsyncConnection, new: Sequence[Credential]) -> set[UserId]:
    """Claim e-mail addresses; returns whose claims held, others' addresses were taken already."""
    # In order, so that two batches that claim the same addresses wait and never deadlock.
    rows = sorted((each.email, each.user_id, each.password_hash) for each in new)
    stored = await tx.execute(
        _INSERT_CREDENTIALS, columns_of("new", _NEW_CREDENTIALS.c.keys(), rows)
    )
    return set(stored.scalars())


_HASHES = rows_of("changed", email=Text(), old=Text(), password_hash=Text())
_UPDATE_HASHES = Changes(
    update(credentials)
    .values(password_hash=_HASHES.c.password_hash, updated_at=func.now())
    .where(credentials.c.email == _HASHES.c.email, credentials.c.password_hash == _HASHES.c.old)
    .returning(credentials.c.email),
    _HASHES,
)


async def replace_hashes(tx: AsyncConnection, changes: Sequence[tuple[str, str, str]]) -> set[str]:
    """Replace (e-mail, old hash, new hash); returns the addresses whose old hash was in force."""
    return {row.email for row in await _UPDATE_HASHES.store(tx, sorted(changes))}


_ASKED_SESSIONS = rows_of("asked", user_id=BigInteger(), session_id=BigInteger())
# Two lists and not rows of pairs: joined to pairs the planner reads all sessions, while PostgreSQL
# walks the primary key for two lists in one scan. A session has one user, so nothing is mixed up.
_LIVING = select(
    sessions.c.user_id,
    sessions.c.id,
    cast(extract("epoch", sessions.c.expires_at - func.now()), Float()).label("seconds"),
).where(
    sessions.c.user_id == func.any(array_of("user_ids", BigInteger())),
    sessions.c.id == func.any(array_of("session_ids", BigInteger())),
    sessions.c.ended_at.is_(None),
    sessions.c.expires_at > func.now(),
)


async def select_living_sessions(
    db: AsyncConnection, keys: Sequence[SessionKey]
) -> Mapping[SessionKey, float]:
    """Those of these sessions that live, and in how many seconds they expire."""
    user_ids, session_ids = zip(*keys, strict=True)
    rows = (await db.execute(_LIVING, {"user_ids": user_ids, "session_ids": session_ids})).all()
    return {(user_id, id): seconds for user_id, id, seconds in rows}


_NEW_SESSIONS = rows_of("new", user_id=BigInteger(), id=BigInteger(), seconds=Integer())
_INSERT_SESSIONS = insert(sessions).from_select(
    ["user_id", "id", "expires_at"],
    select(
        _NEW_SESSIONS.c.user_id,
        _NEW_SESSIONS.c.id,
        _from_now(_NEW_SESSIONS.c.seconds),
    ),
)


async def insert_sessions(
    tx: AsyncConnection, user_ids: Sequence[UserId], seconds: int
) -> list[SessionId]:
    """Open a session for each user, to expire in `seconds`; the ids in the users' order."""
    ids = [SessionId(id) for id in await current().ids.take(tx, session_ids, len(user_ids))]
    rows = [(user_id, id, seconds) for user_id, id in zip(user_ids, ids, strict=True)]
    await tx.execute(_INSERT_SESSIONS, columns_of("new", _NEW_SESSIONS.c.keys(), rows))
    return ids


_NEW_TOKENS = rows_of(
    "new",
    user_id=BigInteger(),
    token_hash=LargeBinary(),
    session_id=BigInteger(),
    seconds=Integer(),
)
_INSERT_TOKENS = insert(refresh_tokens).from_select(
    ["user_id", "token_hash", "session_id", "expires_at"],
    select(
        _NEW_TOKENS.c.user_id,
        _NEW_TOKENS.c.token_hash,
        _NEW_TOKENS.c.session_id,
        _from_now(_NEW_TOKENS.c.seconds),
    ),
)


async def insert_tokens(
    tx: AsyncConnection, new: Sequence[tuple[UserId, bytes, SessionId]], seconds: int
) -> None:
    """Store (user, token's hash, session), to expire in `seconds`."""
    rows = [(*each, seconds) for each in new]
    await tx.execute(_INSERT_TOKENS, columns_of("new", _NEW_TOKENS.c.keys(), rows))


_LOCK_TOKENS = Lock(
    select(
        refresh_tokens.c.user_id,
        refresh_tokens.c.token_hash,
        refresh_tokens.c.session_id,
        refresh_tokens.c.used_at,
        (
            sessions.c.ended_at.is_(None)
            & (sessions.c.expires_at > func.now())
            & (refresh_tokens.c.expires_at > func.now())
        ).label("alive"),
    ).join(
        sessions,
        and_(
            sessions.c.user_id == refresh_tokens.c.user_id,
            sessions.c.id == refresh_tokens.c.session_id,
        ),
    ),
    # The session's row is what logout and rotation contend for.
    order=(refresh_tokens.c.user_id, sessions.c.id, refresh_tokens.c.token_hash),
    user_id=refresh_tokens.c.user_id,
    token_hash=refresh_tokens.c.token_hash,
)


async def lock_tokens(
    tx: AsyncConnection, keys: Sequence[tuple[UserId, bytes]]
) -> dict[tuple[UserId, bytes], StoredToken]:
    """Refresh tokens by user and hash, held with their sessions by this transaction."""
    rows = await _LOCK_TOKENS.hold(tx, keys)
    return {
        (row.user_id, row.token_hash): StoredToken(
            row.user_id, row.token_hash, row.session_id, row.used_at is not None, row.alive
        )
        for row in rows
    }


_USED = rows_of("used", user_id=BigInteger(), token_hash=LargeBinary())
_MARK_USED = Changes(
    update(refresh_tokens)
    .values(used_at=func.now())
    .where(
        refresh_tokens.c.user_id == _USED.c.user_id,
        refresh_tokens.c.token_hash == _USED.c.token_hash,
    ),
    _USED,
)
_PROLONG = Changes(
    update(sessions)
    .values(expires_at=_from_now(_NEW_SESSIONS.c.seconds))
    .where(sessions.c.user_id == _NEW_SESSIONS.c.user_id, sessions.c.id == _NEW_SESSIONS.c.id),
    _NEW_SESSIONS,
)


async def mark_used(tx: AsyncConnection, tokens: Sequence[StoredToken], seconds: int) -> None:
    """Mark tokens as used and let their sessions live `seconds` more."""
    await _MARK_USED.store(tx, [(token.user_id, token.token_hash) for token in tokens])
    rows = sorted((token.user_id, token.session_id, seconds) for token in tokens)
    await _PROLONG.store(tx, rows)


_END = Changes(
    update(sessions)
    .values(ended_at=func.now())
    .where(
        sessions.c.user_id == _ASKED_SESSIONS.c.user_id,
        sessions.c.id == _ASKED_SESSIONS.c.session_id,
        sessions.c.ended_at.is_(None),
    ),
    _ASKED_SESSIONS,
)


async def end_sessions(tx: AsyncConnection, keys: Sequence[SessionKey]) -> None:
    """End these sessions."""
    await _END.store(tx, sorted(set(keys)))


_END_OTHERS = Changes(
    update(sessions)
    .values(ended_at=func.now())
    .where(
        sessions.c.user_id == _ASKED_SESSIONS.c.user_id,
        sessions.c.id != _ASKED_SESSIONS.c.session_id,
        sessions.c.ended_at.is_(None),
    ),
    _ASKED_SESSIONS,
)


async def end_other_sessions(tx: AsyncConnection, kept: Sequence[SessionKey]) -> None:
    """End all sessions of these users but the ones that are named; id 0 keeps none."""
    await _END_OTHERS.store(tx, sorted(set(kept)))


_DISABLE = (
    update(credentials)
    .values(password_hash=bindparam("hash", type_=Text()), updated_at=func.now())
    .where(credentials.c.user_id == func.any(array_of("user_ids", BigInteger())))
)


async def disable_credentials(tx: AsyncConnection, user_ids: Sequence[UserId], stored: str) -> None:
    """Put a hash that no password has in the place of these users' own."""
    await tx.execute(_DISABLE, {"user_ids": user_ids, "hash": stored})


_over = func.coalesce(sessions.c.ended_at, sessions.c.expires_at)
_over_by_now = select(sessions.c.user_id, sessions.c.id).where(func.now() > _over)
_DEAD = _over_by_now.order_by(_over).limit(bindparam("rows", type_=Integer()))
_LOCK_DEAD = Lock(_over_by_now, waits=False, user_id=sessions.c.user_id, id=sessions.c.id)


async def lock_dead_sessions(tx: AsyncConnection, rows: int) -> list[SessionKey]:
    """Up to `rows` sessions that have ended or expired, longest over first.

    Those that somebody holds are passed over: a refresh may be prolonging them.
    """
    dead = (await tx.execute(_DEAD, {"rows": rows})).all()
    return [(row.user_id, row.id) for row in await _LOCK_DEAD.hold(tx, map(tuple, dead))]


_OVER_SESSIONS = rows_of("over", user_id=BigInteger(), session_id=BigInteger())
# LATERAL with a limit, so that each session's tokens are looked up, however many tokens there are.
_TOKENS_OF_EACH = (
    select(refresh_tokens.c.user_id, refresh_tokens.c.token_hash)
    .where(
        refresh_tokens.c.user_id == _OVER_SESSIONS.c.user_id,
        refresh_tokens.c.session_id == _OVER_SESSIONS.c.session_id,
    )
    .limit(bindparam("rows", type_=Integer()))
    .with_for_update(skip_locked=True)
    .lateral("of_each")
)
# A CTE, because a subquery with a limit may be run once for each row that it is compared with.
_DOOMED_TOKENS = (
    select(_TOKENS_OF_EACH.c.user_id, _TOKENS_OF_EACH.c.token_hash)
    .select_from(_OVER_SESSIONS.join(_TOKENS_OF_EACH, true()))
    .limit(bindparam("rows", type_=Integer()))
    .cte("doomed")
)
_DELETE_TOKENS = Changes(
    delete(refresh_tokens)
    .where(
        refresh_tokens.c.user_id == _DOOMED_TOKENS.c.user_id,
        refresh_tokens.c.token_hash == _DOOMED_TOKENS.c.token_hash,
    )
    .returning(refresh_tokens.c.session_id),
    _OVER_SESSIONS,
    one=delete(refresh_tokens)
    .where(
        refresh_tokens.c.user_id == bindparam("over_user_id", type_=BigInteger()),
        refresh_tokens.c.session_id == bindparam("over_session_id", type_=BigInteger()),
    )
    .returning(refresh_tokens.c.session_id),
)
_DELETE_SESSIONS = Changes(
    delete(sessions)
    .where(
        sessions.c.user_id == _OVER_SESSIONS.c.user_id,
        sessions.c.id == _OVER_SESSIONS.c.session_id,
        not_(
            exists().where(
                refresh_tokens.c.user_id == sessions.c.user_id,
                refresh_tokens.c.session_id == sessions.c.id,
            )
        ),
    )
    .returning(sessions.c.id),
    _OVER_SESSIONS,
)


async def delete_sessions(tx: AsyncConnection, held: Sequence[SessionKey], rows: int) -> int:
    """Delete up to `rows` tokens of sessions that this transaction holds, and the bare sessions.

    A session goes when its last token has gone. Returns the number of rows that went.
    """
    tokens = await _DELETE_TOKENS.store(tx, held, rows=rows)
    return len(tokens) + len(await _DELETE_SESSIONS.store(tx, held))


_ERASE = {
    table.name: delete(table).where(table.c.user_id == func.any(array_of("user_ids", BigInteger())))
    for table in (refresh_tokens, sessions, credentials)
}


async def erase_accounts(tx: AsyncConnection, user_ids: Sequence[UserId]) -> None:
    """Delete these users' tokens, sessions and credentials; their addresses are free again."""
    for statement in _ERASE.values():
        await tx.execute(statement, {"user_ids": user_ids})
