"""What caches outside are told of an answer: how long they may show it, and what it shows.

A guest's answer of a shared endpoint may be kept by a CDN, which finds it by its tags when we tell
it to forget one (`cdn/`). A tag names a resource by its class and id, `project:17`, or a list,
`projects`. Use it where an answer is made or kept; it is plain functions without a state.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

import msgspec

from mercenary.cdn_settings import CDNSettings
from mercenary.http.access import Caller
from mercenary.http.endpoint import CachePolicy, Endpoint, Page

SIGNED_IN: Final = b"private, max-age=0, must-revalidate"
_OWN: Final = b"private, no-store"


class Lifetime(msgspec.Struct, frozen=True):
    """How long a shared cache may show an answer, and for how long an old one, in seconds.

    Zero where none is told what to forget: after a write has been answered everybody sees it, so
    such a cache has to ask each time, and `ETag` makes that cheap.
    """

    seconds: int = 0
    stale: int = 0

    @classmethod
    def of(cls, settings: CDNSettings) -> "Lifetime":
        """What the settings allow."""
        if settings.cdn == "none":
            return NOT_KEPT
        return cls(settings.cdn_seconds, settings.cdn_stale_seconds)

    @property
    def public(self) -> bytes:
        """What a guest is told in `Cache-Control`. A browser asks each time; it can't be told."""
        return (
            f"public, max-age=0, s-maxage={self.seconds}, stale-while-revalidate={self.stale}"
        ).encode()


NOT_KEPT: Final = Lifetime()


def cache_control(policy: CachePolicy, caller: Caller, public: bytes) -> bytes:
    """Who may keep the answer that this caller gets; `public` is `Lifetime.public`, made once."""
    if not policy.public:
        return _OWN
    return public if caller.id is None else SIGNED_IN


def tags_of(answer: Any, policy: CachePolicy, path: Mapping[str, str]) -> tuple[str, ...]:
    """The tags of what an answer shows: the policy's own first, then those of a page's items.

    `path` has the path's parameters, which the policy's tag may name.
    """
    if policy.tag is None:
        return ()
    tag = policy.tag.format_map(path) if path else policy.tag
    if not isinstance(answer, Page) or not answer.items:
        return (tag,)
    # A ClassVar of resources; what has no address has no tag of its own.
    address: str | None = getattr(answer.items[0], "address", None)
    if address is None:
        return (tag,)
    prefix = _prefix(address)
    return (tag, *[f"{prefix}{item.id}" for item in answer.items])


def public_kinds(endpoints: Iterable[Endpoint]) -> frozenset[str]:
    """What a guest's answers are tagged with, up to the colon: `project`, `projects`."""
    policies = (endpoint.cache for endpoint in endpoints)
    return frozenset(
        policy.tag.partition(":")[0] for policy in policies if policy.public and policy.tag
    )


def tag_headers(tags: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    """The tags as Varnish and Fastly read them, and as Cloudflare does. None has a space in it."""
    if not tags:
        return []
    keys = " ".join(tags).encode()
    return [(b"surrogate-key", keys), (b"cache-tag", keys.replace(b" ", b","))]


@cache
def _prefix(address: str) -> str:
    """What stands before the id in the tag of a resource: `/projects/{id}` → `project:`."""
    return address.strip("/").partition("/")[0].removesuffix("s") + ":"
