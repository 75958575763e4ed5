"""The settings of a CDN in front of us: which it is, where, and how long it may show an answer.

They are part of `settings.Settings`, which is read there like any other.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Address = Annotated[str, Meta(pattern=r"^https?://[^/?#@\s]+$", max_length=300)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]+$", max_length=100)]
Token = Annotated[str, Meta(pattern=r"^[\x21-\x7e]+$", max_length=4096)]

# Never shown, by whatever command.
SECRETS: Final = frozenset({"fastly_token", "cloudflare_token"})
_NEEDED: Final = {
    "none": (),
    "varnish": ("varnish_addresses",),
    "fastly": ("fastly_service", "fastly_token"),
    "cloudflare": ("cloudflare_zone", "cloudflare_token"),
}


class CDNSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times are seconds."""

    # Which kind is told what to forget.
    cdn: Literal["none", "varnish", "fastly", "cloudflare"] = "none"
    # How long it may show an answer that it isn't told to forget, and how much longer while it
    # fetches the next one: together the most that a lost purge can cost. Both are 0 without a CDN.
    cdn_seconds: Annotated[int, Meta(ge=0, le=31_536_000)] = 60
    cdn_stale_seconds: Annotated[int, Meta(ge=0, le=31_536_000)] = 30
    # How long a call to it may take.
    cdn_call_seconds: Annotated[float, Meta(gt=0, le=60)] = 5.0

    # Each Varnish's own, such as http://10.0.0.7:6081; in the environment with commas between them.
    varnish_addresses: tuple[Address, ...] = ()
    fastly_service: Name | None = None
    fastly_token: Token | None = None
    fastly_address: Address = "https://api.fastly.com"
    cloudflare_zone: Name | None = None
    cloudflare_token: Token | None = None
    cloudflare_address: Address = "https://api.cloudflare.com"


def incomplete(settings: CDNSettings) -> list[str]:
    """What the chosen CDN can't be called without, by the settings' names."""
    return [name for name in _NEEDED[settings.cdn] if not getattr(settings, name)]
