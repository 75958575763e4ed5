"""Query results that are kept like answers: in memory and in Valkey, by tags and clocks.

    @cached_query(name="count_projects", tags=("projects",), seconds=60)
    async def count_projects(asked: Filters) -> int: ...

Calling it gives what is kept, or calls the function for all who want the same at the moment. Its
arguments and its result must be what msgspec encodes, and the annotations say the result's type.
A result is shared by everybody who asks, so nobody may change it, and it may depend on nothing
but the arguments.
"""

from collections.abc import Awaitable, Callable
from typing import Generic, ParamSpec, TypeVar, get_type_hints

import msgspec

from mercenary.cache import caches
from mercenary.cache.entries import Codec, Want
from mercenary.cache.tiers import Tiers

P = ParamSpec("P")
R = TypeVar("R")

_encoder = msgspec.msgpack.Encoder()


class CachedQuery(Generic[P, R]):
    """A function whose results are kept."""

    def __init__(
        self,
        function: Callable[P, Awaitable[R]],
        *,
        name: str,
        tags: Callable[P, tuple[str, ...]],
        seconds: float | None,
        section: Callable[[], Tiers],
    ) -> None:
        self.name = name
        self.function = function
        self._tags = tags
        self._seconds = seconds
        self._section = section
        decoder = msgspec.msgpack.Decoder(get_type_hints(function)["return"])
        self._codec: Codec[R] = Codec(_encoder.encode, decoder.decode)

    async def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:
        """The result, kept or asked for.

        Raises:
            Exception: whatever the function raised.
        """
        want = self.want(*arguments, **named)
        found = await self._section().get(want, lambda: self.function(*arguments, **named))
        return found[0]

    def want(self, *arguments: P.args, **named: P.kwargs) -> Want[R]:
        """What a call asks of the cache."""
        key = _encoder.encode(("query", self.name, arguments, sorted(named.items())))
        return Want(key, self._tags(*arguments, **named), self._codec, self._seconds)


def answers() -> Tiers:
    """The section of finished answers and of query results."""
    return caches.current().answers


def cached_query(
    *,
    name: str,
    tags: tuple[str, ...] | Callable[P, tuple[str, ...]],
    seconds: float | None = None,
    section: Callable[[], Tiers] = answers,
) -> Callable[[Callable[P, Awaitable[R]]], CachedQuery[P, R]]:
    """Keep a function's results under a name of its own, for the section's lifetime or `seconds`.

    `tags` may follow from the arguments.
    """

    def declare(function: Callable[P, Awaitable[R]]) -> CachedQuery[P, R]:
        named = tags if callable(tags) else lambda *_, **__: tags
        return CachedQuery(function, name=name, tags=named, seconds=seconds, section=section)

    return declare
