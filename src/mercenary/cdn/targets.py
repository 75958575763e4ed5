"""The CDNs that can be told what to forget, by their own calls.

A target is one that must be told for itself: each Varnish, or a whole CDN that spreads the word.
Each call takes many tags.

- Varnish: `PURGE` with the tags in `Surrogate-Key`, as `deploy/varnish/default.vcl` has it.
- Fastly: https://www.fastly.com/documentation/reference/api/purging/
- Cloudflare: https://developers.cloudflare.com/api/resources/cache/methods/purge/
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Protocol

import httpx
import msgspec

from mercenary.cdn.queries import EVERYTHING
from mercenary.cdn_settings import CDNSettings

# A header of 8 KiB (Varnish's http_req_hdr_len) holds so many of the longest.
_VARNISH_TAGS: Final = 128
# «Up to 256 surrogate keys can be purged in one batch request.»
_FASTLY_TAGS: Final = 256
# «Max operations per request: 100» on every plan; an operation is a tag.
_CLOUDFLARE_TAGS: Final = 100


class Call(msgspec.Struct, frozen=True):
    """A request that tells a target. Its headers may hold a secret, so it is never to be shown."""

    method: str
    url: str
    headers: dict[str, str]
    body: Any = None

    def __repr__(self) -> str:
        return f"Call({self.method!r}, {self.url!r})"


class Target(Protocol):
    """One that is told."""

    tags_at_once: ClassVar[int]
    """How many tags a call takes at most."""

    @property
    def name(self) -> str:
        """What it goes by in the database and in logs. Holds no secret."""

    def call(self, tags: Sequence[str]) -> Call:
        """The request that tells it to forget these tags, or `EVERYTHING`, which stands alone."""

    def refusal(self, answer: httpx.Response) -> str | None:
        """Why a successful status doesn't mean that it forgets; None where it does."""


class Varnish(msgspec.Struct, frozen=True):
    """One Varnish; of several each is told, for they don't tell each other."""

    tags_at_once: ClassVar[int] = _VARNISH_TAGS
    address: str

    @property
    def name(self) -> str:
        """Its address."""
        return self.address

    def call(self, tags: Sequence[str]) -> Call:
        """A PURGE; everything is asked for by `*`, which is the name of nothing."""
        return Call("PURGE", f"{self.address}/", {"Surrogate-Key": " ".join(tags)})

    def refusal(self, answer: httpx.Response) -> None:
        """None: what it answers 200 it has forgotten."""


class Fastly(msgspec.Struct, frozen=True):
    """A service of Fastly's."""

    tags_at_once: ClassVar[int] = _FASTLY_TAGS
    address: str
    service: str
    token: str

    def __repr__(self) -> str:
        return f"Fastly({self.service!r})"

    @property
    def name(self) -> str:
        """The service."""
        return f"fastly {self.service}"

    def call(self, tags: Sequence[str]) -> Call:
        """A bulk purge of surrogate keys. A soft one would still show what is stale."""
        url = f"{self.address}/service/{self.service}/purge"
        headers = {"Fastly-Key": self.token, "Accept": "application/json"}
        if EVERYTHING in tags:
            return Call("POST", f"{url}_all", headers)
        return Call("POST", url, headers, {"surrogate_keys": list(tags)})

    def refusal(self, answer: httpx.Response) -> None:
        """None: it says no by its status."""


class Cloudflare(msgspec.Struct, frozen=True):
    """A zone of Cloudflare's."""

    tags_at_once: ClassVar[int] = _CLOUDFLARE_TAGS
    address: str
    zone: str
    token: str

    def __repr__(self) -> str:
        return f"Cloudflare({self.zone!r})"

    @property
    def name(self) -> str:
        """The zone."""
        return f"cloudflare {self.zone}"

    def call(self, tags: Sequence[str]) -> Call:
        """A purge by tags, or of everything."""
        return Call(
            "POST",
            f"{self.address}/client/v4/zones/{self.zone}/purge_cache",
            {"Authorization": f"Bearer {self.token}"},
            {"purge_everything": True} if EVERYTHING in tags else {"tags": list(tags)},
        )

    def refusal(self, answer: httpx.Response) -> str | None:
        """It says in the body whether it does what it was told."""
        try:
            outcome = _decode_outcome(answer.content)
        except msgspec.DecodeError as error:
            return f"an answer that isn't theirs: {error}"
        return None if outcome.success else "; ".join(each.message for each in outcome.errors)


class _Fault(msgspec.Struct):
    message: str = ""


class _Outcome(msgspec.Struct):
    success: bool
    errors: list[_Fault] = []


_decode_outcome: Final = msgspec.json.Decoder(_Outcome).decode


def targets_of(settings: CDNSettings) -> Sequence[Target]:
    """All that must be told under these settings, which are complete; none without a CDN."""
    if settings.cdn == "varnish":
        return [Varnish(address) for address in dict.fromkeys(settings.varnish_addresses)]
    if settings.cdn == "fastly" and settings.fastly_service and settings.fastly_token:
        return [Fastly(settings.fastly_address, settings.fastly_service, settings.fastly_token)]
    if settings.cdn == "cloudflare" and settings.cloudflare_zone and settings.cloudflare_token:
        return [
            Cloudflare(
                settings.cloudflare_address, settings.cloudflare_zone, settings.cloudflare_token
            )
        ]
    return []
