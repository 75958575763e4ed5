"""What goes over the wire to sign up, in and out."""

from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from msgspec import Meta

from mercenary.auth.common_passwords import is_common
from mercenary.http.wire import Email, text

MIN_PASSWORD, MAX_PASSWORD = 12, 128
RefreshToken = Annotated[str, Meta(min_length=1, max_length=200)]
_TOKEN_EXAMPLE = "8.Zm9yIGFuIGV4YW1wbGUsIG5vdCBmb3IgdXNl"  # noqa: S105


class Password(str):
    """A password that may be chosen: 12 to 128 characters, and not one that everybody tries."""

    __slots__ = ()
    schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "format": "password",
        "pattern": r"^[^\u0000]*$",
        "minLength": MIN_PASSWORD,
        "maxLength": MAX_PASSWORD,
        "description": "Not one of the bundled list of common passwords.",
    }

    @classmethod
    def parse(cls, value: object) -> Self:
        """Check a new password.

        Raises:
            ValueError: too short, too long, or common.
        """
        if not isinstance(value, str) or not MIN_PASSWORD <= len(value) <= MAX_PASSWORD:
            raise ValueError(f"Expected {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        if is_common(value):
            raise ValueError("This password is on the list of common ones; choose another")
        return cls(value)


class NewAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody says to register."""

    example: ClassVar[dict[str, Any]] = {
        "email": "ada@example.com",
        "password": "a long and private word",
        "name": "Ada Lovelace",
        "role": "freelancer",
    }

    email: Email
    password: Password
    name: Annotated[str, text(1, 120)]
    role: Literal["client", "freelancer"]


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody says to sign in; any text is tried, for a rule here would tell of others'."""

    example: ClassVar[dict[str, Any]] = {
        "email": "ada@example.com",
        "password": "a long and private word",
    }

    email: Annotated[str, Meta(max_length=254)]
    password: Annotated[str, Meta(max_length=MAX_PASSWORD)]


class Refresh(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A refresh token to be changed for a new pair."""

    example: ClassVar[dict[str, Any]] = {"refresh_token": _TOKEN_EXAMPLE}

    refresh_token: RefreshToken


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password in force and the one to come."""

    example: ClassVar[dict[str, Any]] = {
        "current": "a long and private word",
        "new": "a longer and more private word",
    }

    current: Annotated[str, Meta(max_length=MAX_PASSWORD)]
    new: Password


class Tokens(msgspec.Struct, frozen=True):
    """A pair of tokens; `expires_in` is the access token's life in seconds."""

    example: ClassVar[dict[str, Any]] = {
        "access_token": "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiI4In0.c2lnbmF0dXJl",
        "token_type": "Bearer",
        "expires_in": 900,
        "refresh_token": _TOKEN_EXAMPLE,
    }

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    refresh_token: str
