"""Who calls, and who may."""

from typing import Literal, NewType

import msgspec

from mercenary.errors import Forbidden, Unauthorized

UserId = NewType("UserId", int)
SessionId = NewType("SessionId", int)
Role = Literal["client", "freelancer", "admin"]


class Caller(msgspec.Struct, frozen=True):
    """Whoever sent the request; a guest has no id."""

    id: UserId | None = None
    role: Role | None = None
    session_id: SessionId | None = None

    @property
    def is_admin(self) -> bool:
        """Whether the caller may see and do what the owners may."""
        return self.role == "admin"

    @property
    def user_id(self) -> UserId:
        """The id of somebody signed in.

        Raises:
            Unauthorized: a guest calls. An endpoint's access policy answers that before.
        """
        if self.id is None:
            raise Unauthorized
        return self.id


GUEST = Caller()


class Access(msgspec.Struct, frozen=True):
    """Which roles may call an endpoint at all; who owns what is the service's to say."""

    name: str
    roles: frozenset[str] | None = None
    guests: bool = False

    def check(self, caller: Caller) -> None:
        """Let the caller pass.

        Raises:
            Unauthorized: nobody is signed in.
            Forbidden: somebody is, in another role.
        """
        if self.guests:
            return
        if caller.id is None:
            raise Unauthorized
        if self.roles is not None and caller.role not in self.roles:
            raise Forbidden(f"Only {' or '.join(sorted(self.roles))} accounts may do this.")


anyone = Access("anyone", guests=True)
signed_in = Access("signed in")


def role(*names: Role) -> Access:
    """Only callers in one of these roles."""
    return Access(" or ".join(names), frozenset(names))
