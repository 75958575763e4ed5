"""Signing up, in and out, and leaving."""

from mercenary.auth import service
from mercenary.auth.schemas import Credentials, NewAccount, PasswordChange, Refresh, Tokens
from mercenary.errors import Conflict, NotFound, Overloaded, Unauthorized
from mercenary.http.access import Caller, anyone, signed_in
from mercenary.http.conditions import IfMatch
from mercenary.http.endpoint import SENSITIVE, Created, endpoint
from mercenary.users.schemas import User


@endpoint(
    "POST",
    "/auth/register",
    access=anyone,
    rate=SENSITIVE,
    idempotent=True,
    problems=(Conflict, Overloaded),
)
async def register(body: NewAccount) -> Created[User]:
    """Open an account as a client or a freelancer."""
    return Created(await service.authenticator().register(body))


@endpoint(
    "POST",
    "/auth/login",
    access=anyone,
    rate=SENSITIVE,
    idempotent=True,
    problems=(Unauthorized, Overloaded),
)
async def login(body: Credentials, address: str) -> Tokens:
    """Sign in. An unknown address and a wrong password are answered alike.

    After some wrong passwords for an account, or many for several, the place that they came from
    has to wait; others don't, nor does the account's owner elsewhere.
    """
    return await service.authenticator().login(body, address)


@endpoint(
    "POST",
    "/auth/refresh",
    access=anyone,
    rate=SENSITIVE,
    idempotent=True,
    problems=(Unauthorized,),
)
async def refresh(body: Refresh) -> Tokens:
    """Change a refresh token for a new pair.

    Each refresh token works once. One that comes a second time was stolen or copied, so its whole
    session ends; unless it comes under the same idempotency key, which is how to try again when
    no answer arrived.
    """
    return await service.authenticator().refresh(body.refresh_token)


@endpoint("POST", "/auth/logout", access=signed_in, rate=SENSITIVE, idempotent=True)
async def logout(caller: Caller) -> None:
    """End the session that the access token belongs to, on every worker at once."""
    await service.logout(caller)


@endpoint(
    "POST",
    "/auth/password",
    access=signed_in,
    rate=SENSITIVE,
    idempotent=True,
    problems=(Conflict, Overloaded),
)
async def change_password(caller: Caller, address: str, body: PasswordChange) -> None:
    """Set another password. Every other session of the account ends."""
    await service.authenticator().change_password(caller, body, address)


@endpoint("DELETE", "/users/me", access=signed_in, rate=SENSITIVE, problems=(NotFound,))
async def leave(caller: Caller, if_match: IfMatch) -> None:
    """Deactivate the own account. Every session ends; the data is erased after 30 days."""
    await service.leave(caller, if_match)
