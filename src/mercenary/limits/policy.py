"""Who may ask how often."""

import msgspec

from mercenary.settings import Settings


class Policy(msgspec.Struct, frozen=True):
    """At most `limit` requests in each window of `window` seconds, which start at multiples of it.

    Windows go by Valkey's clock, so that hosts agree on them.
    """

    name: str
    limit: int
    window: int


def guests(settings: Settings) -> Policy:
    """Whoever isn't signed in, by address."""
    return Policy("guest", settings.guest_limit, settings.guest_window)


def users(settings: Settings) -> Policy:
    """Whoever is signed in, by user."""
    return Policy("user", settings.user_limit, settings.user_window)


def sensitive(settings: Settings) -> Policy:
    """Sign-in, passwords and what can't be undone; by user or address, besides the others."""
    return Policy("sensitive", settings.sensitive_limit, settings.sensitive_window)
