"""Whether a session lives: PostgreSQL's word, and one that was kept.

Whatever gives or changes what is somebody's own asks PostgreSQL (`certify`). For what everybody may
read a kept word will do (`kept`, `recall`): the clock of the user's sessions forgets it on this
host before the end of a session is answered, and within a second on others.
"""

from time import monotonic, time
from typing import Final

import msgspec

from mercenary.auth import queries
from mercenary.auth.queries import SessionKey
from mercenary.cache import caches
from mercenary.cache.entries import Codec, Want
from mercenary.db.batches import read_batch
from mercenary.errors import Unauthorized
from mercenary.http.access import Caller, SessionId

find_living_session = read_batch(queries.select_living_sessions)

# What is kept is when the session expires, in seconds since 1970.
_CODEC: Final[Codec[float]] = Codec(msgspec.msgpack.encode, msgspec.msgpack.Decoder(float).decode)


async def certify(caller: Caller) -> None:
    """Ask PostgreSQL whether the session of somebody signed in lives.

    Raises:
        Unauthorized: it has ended.
    """
    await _expiry(session_of(caller))


async def certify_by_kept_word(caller: Caller) -> None:
    """Take a kept word for whether the session lives, and ask where there is none.

    Raises:
        Unauthorized: it has ended.
    """
    key = session_of(caller)
    want = Want(_name(key), (f"sessions:{key[0]}",), _CODEC)
    expiry, _ = await caches.current().sessions.get(want, lambda: _expiry(key))
    if expiry <= time():  # unless its tokens were renewed since
        await certify(caller)


def is_known_to_live(caller: Caller) -> bool:
    """Whether this worker knows that the session lives, without asking anybody."""
    tiers = caches.current().sessions
    entry = tiers.peek(_name(session_of(caller)), monotonic())
    if entry is None or entry.value <= time():
        return False
    tiers.measures.hits_memory += 1
    return True


def session_of(caller: Caller) -> SessionKey:
    """The session that the caller's token belongs to."""
    return caller.user_id, caller.session_id or SessionId(0)


async def _expiry(key: SessionKey) -> float:
    seconds = await find_living_session(key)
    if seconds is None:
        raise _ended()
    return time() + seconds


def _name(key: SessionKey) -> bytes:
    return b"session %d %d" % key


def _ended() -> Unauthorized:
    return Unauthorized(
        "The session has ended.",
        challenge='Bearer error="invalid_token", error_description="session ended"',
    )
