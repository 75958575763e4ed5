"""The life of accounts and sessions: sign up, sign in, rotate, sign out, leave.

Every request of somebody signed in that gives or changes what is their own asks PostgreSQL whether
the session lives, in a batch with the others that came in at the moment; so a session that has
ended has ended everywhere when that is answered, whatever else may be down. For what everybody may
read, a kept word is enough (decision 21): it is forgotten at once on the host where the session
ended, and within a second elsewhere.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Iterable, Sequence
from functools import cache

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary import settings
from mercenary.auth import queries, sessions
from mercenary.auth.passwords import Passwords
from mercenary.auth.queries import Credential, SessionKey, StoredToken
from mercenary.auth.schemas import Credentials, NewAccount, PasswordChange, Tokens
from mercenary.auth.throttle import Throttle
from mercenary.auth.tokens import Verifier, mint
from mercenary.db.batches import read_batch, write_batch
from mercenary.db.outbox import Event, record
from mercenary.errors import Conflict, Invalid, ProblemError, Unauthorized
from mercenary.http.access import Caller, SessionId, UserId
from mercenary.http.conditions import IfMatch
from mercenary.users import service as users
from mercenary.users.schemas import User

_SECRET_BYTES = 32
_USER_ID_BYTES = 8
# The hash of an account that nobody can sign in to.
_DISABLED = ""

find_credential = read_batch(queries.select_credentials)


class _Registration(msgspec.Struct, frozen=True):
    account: NewAccount
    password_hash: str


class _NewSession(msgspec.Struct, frozen=True):
    credential: Credential


class _PasswordReplacement(msgspec.Struct, frozen=True):
    email: str
    old_hash: str
    new_hash: str
    session: SessionKey


class Authenticator:
    """What a process needs to know who somebody is: hashing threads and verified tokens."""

    def __init__(self, options: settings.Settings) -> None:
        self.settings = options
        self.passwords = Passwords(options)
        self.verifier = Verifier(options)
        self.throttle = Throttle(options)

    async def identify(self, token: str, public: bool) -> Caller:
        """The caller whom an access token names; `public`: who reads what everybody may.

        Raises:
            Unauthorized: the token isn't good, or its session has ended.
        """
        caller = self.verifier.verify(token)
        if public and not caller.is_admin:
            await sessions.certify_by_kept_word(caller)
        else:
            await sessions.certify(caller)
        return caller

    def recall(self, token: str) -> Caller | None:
        """The caller whom a token names, where token and session are known to this worker.

        None also for admins, whose sessions are always asked for.
        """
        caller = self.verifier.recall(token)
        if caller is None or caller.is_admin:
            return None
        return caller if sessions.is_known_to_live(caller) else None

    async def register(self, account: NewAccount) -> User:
        """Open an account.

        Raises:
            Conflict: the e-mail address has one already.
        """
        return await add_account(
            _Registration(account, await self.passwords.hash(account.password))
        )

    async def login(self, given: Credentials, address: str) -> Tokens:
        """Open a session.

        Raises:
            Unauthorized: no such account, or another password; the answer and its time don't tell.
            TooManyRequests: too many passwords from there were wrong.
        """
        credential = await self._prove(given.email.lower(), given.password, address)
        if credential is None:
            raise _wrong_credentials()
        return await open_session(_NewSession(credential))

    async def refresh(self, refresh_token: str) -> Tokens:
        """Change a refresh token for a new pair.

        Raises:
            Unauthorized: it isn't in force. One that was used before ends its whole family.
        """
        return await rotate_token(_read_refresh_token(refresh_token))

    async def change_password(self, caller: Caller, change: PasswordChange, address: str) -> None:
        """Set another password and end the caller's other sessions.

        Raises:
            Invalid: `current` isn't the password in force.
            TooManyRequests: too many passwords from there were wrong.
            Conflict: it was changed by somebody else at the same moment.
        """
        account = await users.find_account(caller.user_id)
        email = account.email if account else None
        credential = await self._prove((email or "").lower(), change.current, address)
        if credential is None:
            raise Invalid.at("/current", "This isn't the password in force")
        await replace_password(
            _PasswordReplacement(
                credential.email,
                credential.password_hash,
                await self.passwords.hash(change.new),
                sessions.session_of(caller),
            )
        )

    async def _prove(self, email: str, password: str, address: str) -> Credential | None:
        """The credential of the account, if the password is its own; the same work in any case."""
        attempt = await self.throttle.begin(email, address)
        try:
            credential = await find_credential(email)
            stored = credential.password_hash if credential else None
            right = await self.passwords.verify(password, stored or None)
        except ProblemError:  # too busy, or the database is away
            await attempt.withdraw()
            raise
        await attempt.settle(right=right)
        return credential if right else None

    def close(self) -> None:
        """Let the hashing threads go."""
        self.passwords.close()


async def add_accounts(
    tx: AsyncConnection, asks: Sequence[_Registration]
) -> Sequence[User | Exception]:
    """Claim each e-mail address and store its user; of two equal addresses the first gets it."""
    ids = await users.take_ids(tx, len(asks))
    first: dict[str, Credential] = {}
    for id, ask in zip(ids, asks, strict=True):
        email = ask.account.email.lower()
        first.setdefault(email, Credential(email, id, ask.password_hash))
    claimed = await queries.insert_credentials(tx, list(first.values()))
    new = [
        users.NewUser(id, ask.account.email, ask.account.name, ask.account.role)
        for id, ask in zip(ids, asks, strict=True)
        if id in claimed
    ]
    added = {user.id: user for user in await users.add_users(tx, new)} if new else {}
    taken = Conflict("There is an account with this e-mail address already.")
    return [added.get(id, taken) for id in ids]


async def open_sessions(
    tx: AsyncConnection, asks: Sequence[_NewSession]
) -> Sequence[Tokens | Exception]:
    """Open sessions for passwords that were right, unless they were changed in the meantime."""
    held = await queries.hold_credentials(tx, [ask.credential.email for ask in asks])
    good = [ask.credential for ask in asks if held.get(ask.credential.email) == ask.credential]
    seconds = settings.get().refresh_token_seconds
    user_ids = [credential.user_id for credential in good]
    session_ids = await queries.insert_sessions(tx, user_ids, seconds) if good else []
    opened = iter(await _issue(tx, list(zip(user_ids, session_ids, strict=True)), seconds))
    return [
        next(opened) if held.get(ask.credential.email) == ask.credential else _wrong_credentials()
        for ask in asks
    ]


async def rotate_tokens(
    tx: AsyncConnection, asks: Sequence[tuple[UserId, bytes]]
) -> Sequence[Tokens | Exception]:
    """Change refresh tokens for new ones; a token that comes a second time ends its session."""
    held = await queries.lock_tokens(tx, asks)
    spent: set[tuple[UserId, bytes]] = set()
    good: list[StoredToken] = []
    stolen: set[SessionKey] = set()
    for ask in asks:
        token = held.get(ask)
        if token is not None and (token.used or ask in spent):
            stolen.add((token.user_id, token.session_id))
        elif token is not None and token.alive:
            spent.add(ask)
            good.append(token)
    good = [token for token in good if (token.user_id, token.session_id) not in stolen]
    if stolen:
        await _end(tx, list(stolen))
    seconds = settings.get().refresh_token_seconds
    if good:
        await queries.mark_used(tx, good, seconds)
    issued = await _issue(tx, [(token.user_id, token.session_id) for token in good], seconds)
    fresh = {
        (token.user_id, token.token_hash): tokens
        for token, tokens in zip(good, issued, strict=True)
    }
    return [fresh.pop(ask) if ask in fresh else _refused_token() for ask in asks]


async def replace_passwords(
    tx: AsyncConnection, asks: Sequence[_PasswordReplacement]
) -> Sequence[Exception | None]:
    """Replace passwords and end every session but the one that asked."""
    first = {ask.email: ask for ask in reversed(asks)}
    changes = [(ask.email, ask.old_hash, ask.new_hash) for ask in first.values()]
    replaced = await queries.replace_hashes(tx, changes)
    done = [ask for ask in first.values() if ask.email in replaced]
    if done:
        await end_other_sessions(tx, [ask.session for ask in done])
    late = Conflict("The password was changed at the same moment. Sign in again.")
    return [None if ask in done else late for ask in asks]


async def end_sessions(
    tx: AsyncConnection, asks: Sequence[SessionKey]
) -> Sequence[Exception | None]:
    """End the sessions that ask for it."""
    await _end(tx, asks)
    return [None] * len(asks)


async def close_accounts(
    tx: AsyncConnection, asks: Sequence[users.Departure]
) -> Sequence[Exception | None]:
    """Deactivate accounts: nobody can sign in, every session ends, the profile is hidden."""
    outcomes = await users.deactivate_users(tx, asks)
    left = sorted({ask.id for ask, fault in zip(asks, outcomes, strict=True) if fault is None})
    await queries.disable_credentials(tx, left, _DISABLED)
    await end_other_sessions(tx, [(user_id, SessionId(0)) for user_id in left])
    return outcomes


async def end_other_sessions(tx: AsyncConnection, kept: Sequence[SessionKey]) -> None:
    """End all sessions of these users but the ones that are named; id 0 keeps none."""
    await queries.end_other_sessions(tx, kept)
    _tell_ended(user_id for user_id, _ in kept)


async def remove_dead_sessions(tx: AsyncConnection, rows: int) -> int:
    """Remove sessions that are over, with their refresh tokens; how many rows that were.

    The tokens of a living session all stay, used ones too: whoever brings one ends the session.
    """
    held = await queries.lock_dead_sessions(tx, rows)
    return await queries.delete_sessions(tx, held, rows) if held else 0


async def erase_accounts(tx: AsyncConnection, user_ids: Sequence[UserId]) -> None:
    """Forget how these users signed in, and from where."""
    await queries.erase_accounts(tx, user_ids)


@cache
def authenticator() -> Authenticator:
    """The process's own."""
    return Authenticator(settings.get())


add_account = write_batch(add_accounts)
open_session = write_batch(open_sessions)
rotate_token = write_batch(rotate_tokens)
replace_password = write_batch(replace_passwords)
end_session = write_batch(end_sessions)
close_account = write_batch(close_accounts, order=lambda departure: departure.id)


async def logout(caller: Caller) -> None:
    """End the session that the caller's token belongs to."""
    await end_session(sessions.session_of(caller))


async def leave(caller: Caller, if_match: IfMatch) -> None:
    """Deactivate the caller's own account.

    Raises:
        PreconditionFailed: the profile has changed since the caller read it.
    """
    await close_account(users.Departure(caller.user_id, if_match))


async def _end(tx: AsyncConnection, keys: Sequence[SessionKey]) -> None:
    await queries.end_sessions(tx, keys)
    _tell_ended(user_id for user_id, _ in keys)


def _tell_ended(user_ids: Iterable[UserId]) -> None:
    """Record that sessions of these users have ended: whoever remembers any must ask again."""
    record(
        *(
            Event("session.ended", f"user:{id}", key=id, tags=(f"sessions:{id}",))
            for id in sorted(set(user_ids))
        )
    )


async def _issue(tx: AsyncConnection, keys: Sequence[SessionKey], seconds: int) -> list[Tokens]:
    """A pair of tokens for each session; refresh tokens are stored, to expire in `seconds`."""
    if not keys:
        return []
    accounts = await users.select_accounts(tx, [user_id for user_id, _ in keys])
    new = [(user_id, session_id, _new_refresh_token(user_id)) for user_id, session_id in keys]
    await queries.insert_tokens(
        tx,
        [(user_id, _hash_of(token), session_id) for user_id, session_id, token in new],
        seconds,
    )
    options = settings.get()
    return [
        Tokens(
            mint(options, user_id, accounts[user_id].role, session_id),
            "Bearer",
            options.access_token_seconds,
            refresh_token,
        )
        for user_id, session_id, refresh_token in new
    ]


def _new_refresh_token(user_id: UserId) -> str:
    # The user's id leads, so that the look-up names the distribution column.
    raw = user_id.to_bytes(_USER_ID_BYTES, "big") + secrets.token_bytes(_SECRET_BYTES)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _hash_of(refresh_token: str) -> bytes:
    # 256 random bits need no slow hash.
    return hashlib.sha256(refresh_token.encode()).digest()


def _read_refresh_token(refresh_token: str) -> tuple[UserId, bytes]:
    try:
        padded = refresh_token + "=" * (-len(refresh_token) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise _refused_token() from None
    user_id = int.from_bytes(raw[:_USER_ID_BYTES], "big", signed=True)
    if len(raw) != _USER_ID_BYTES + _SECRET_BYTES or user_id <= 0:
        raise _refused_token()
    return UserId(user_id), _hash_of(refresh_token)


def _wrong_credentials() -> Unauthorized:
    return Unauthorized("The e-mail address or the password is wrong.")


def _refused_token() -> Unauthorized:
    return Unauthorized("The refresh token isn't in force. Sign in again.")
