"""Making administrators, and ending it. No request can; `mercenary admin` does, beside the API."""

from collections.abc import Collection

from mercenary.auth import queries, service
from mercenary.auth.queries import Credential
from mercenary.db.engine import Database
from mercenary.db.outbox import telling
from mercenary.errors import Conflict
from mercenary.http.access import Role, SessionId, UserId
from mercenary.users import service as users


async def find_account(database: Database, email: str) -> UserId | None:
    """Whose e-mail address it is; None when it is nobody's."""
    async with database.reading() as connection:
        found = await queries.select_credentials(connection, [email.lower()])
    credential = found.get(email.lower())
    return credential.user_id if credential else None


async def promote(database: Database, user_id: UserId) -> None:
    """Make an admin of a user; their sessions end, because tokens carry the old role.

    Raises:
        Conflict: the account is deactivated.
    """
    await _assign(database, user_id, ["client", "freelancer", "admin"], "admin")


async def demote(database: Database, user_id: UserId) -> None:
    """Make a client of an admin; their sessions end, because tokens carry the old role.

    Raises:
        Conflict: the account is deactivated, or no admin's.
    """
    await _assign(database, user_id, ["admin"], "client")


async def _assign(
    database: Database, user_id: UserId, before: Collection[Role], after: Role
) -> None:
    async with (
        database.connecting() as connection,
        connection.begin(),
        telling(connection),
    ):
        account = (await users.select_accounts(connection, [user_id])).get(user_id)
        if account is None or not account.is_active:
            raise Conflict("The account is deactivated.")
        if account.role not in before:
            raise Conflict(f"The account is a {account.role}'s.")
        if account.role != after:
            await users.assign_role(connection, [user_id], after)
            await service.end_other_sessions(connection, [(user_id, SessionId(0))])


async def create(database: Database, email: str, name: str, password_hash: str) -> UserId:
    """Open an admin's account.

    Raises:
        Conflict: the address was taken at the same moment.
    """
    async with (
        database.connecting() as connection,
        connection.begin(),
        telling(connection),
    ):
        id = (await users.take_ids(connection, 1))[0]
        credential = Credential(email.lower(), id, password_hash)
        if not await queries.insert_credentials(connection, [credential]):
            raise Conflict("There is an account with this e-mail address already.")
        await users.add_users(connection, [users.NewUser(id, email, name, "admin")])
    return id
