"""Filling Valkey's tier before anybody asks: after a deployment, a restart of Valkey, a purge.

The answers are made here by the application itself, as it makes them for a guest, and put where
every worker finds them at its first look. To the others this process is a host of its own: it
shares no clocks with the workers beside it, so that its coming and going empties nobody's memory.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, get_args, get_origin
from urllib.parse import urlencode

import msgspec
from msgspec.structs import replace
from starlette.types import Scope

from mercenary.app import Application
from mercenary.cache import caches
from mercenary.cache.entries import HEARD_SECONDS
from mercenary.cache.tiers import Source
from mercenary.errors import BadRequest, Invalid, NotFound, ProblemError
from mercenary.http.endpoint import BASE_PATH, Endpoint
from mercenary.http.faults import bare
from mercenary.http.invocation import Signature
from mercenary.http.sharing import Shared
from mercenary.settings import Settings

WORD_SECONDS: Final = 3.0
"""How long the relay's word is waited for; it comes ten times a second."""
LARGEST_PAGE: Final = 100
MOST_SKILLS: Final = 10_000
# A worker hurries, because somebody waits for it; here nobody does.
_VALKEY_SECONDS: Final = 1.0
_LEAST_MEMORY: Final = 1_048_576


class NoWord(Exception):
    """No relay is heard, and without its word nothing that is put into Valkey counts."""


class Warmed(msgspec.Struct):
    """What has become of some answers."""

    filled: int = 0
    """Made, and put into Valkey unless something changed meanwhile."""
    there: int = 0
    """Found in Valkey."""
    missing: int = 0
    """Not there any more, or never for a guest."""
    failed: int = 0
    """Not made: the database was away or too slow."""
    size: int = 0
    """Bytes of all bodies."""


class Ids(msgspec.Struct):
    """What is read of a list that is only looked through: ids, and where the next page is."""

    items: list[dict[str, int]]
    next_cursor: str | None


class Warmer:
    """Makes answers by an application that has started; `at_once` of them at a time."""

    def __init__(self, application: Application, *, at_once: int) -> None:
        self._router = application.router
        self._tiers = caches.current().answers
        self._at_once = at_once
        self._seen: set[bytes] = set()

    @property
    def hears(self) -> bool:
        """Whether the relay's word is recent, and Valkey there."""
        heard = time.monotonic() - self._tiers.clocks.heard
        return heard < HEARD_SECONDS and not self._tiers.shelf.away

    @property
    def lost(self) -> int:
        """Answers that Valkey didn't take."""
        return self._tiers.shelf.measures.lost

    async def listen(self) -> None:
        """Wait for the relay's word.

        Raises:
            NoWord: there is none.
        """
        try:
            async with asyncio.timeout(WORD_SECONDS):
                while not self.hears:  # noqa: ASYNC110 - another process sets it
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise NoWord from None

    async def warm(self, targets: Sequence[str], done: Callable[[], None]) -> Warmed:
        """See that the answers to these paths are in Valkey; `done` is called for each."""
        warmed = Warmed()
        waiting = iter(targets)

        async def work() -> None:
            for target in waiting:
                await self._warm(target, warmed)
                done()

        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(work())
        await self._tiers.drain()
        return warmed

    async def resources(self, kind: str, most: int) -> list[str]:
        """The paths of a list's first resources, in its own order: the newest projects.

        Raises:
            ProblemError: the list can't be read.
        """
        path = f"{BASE_PATH}/{kind}"
        found: list[int] = []
        cursor: str | None = None
        while len(found) < most:
            limit = min(LARGEST_PAGE, most - len(found))
            asked = {"fields": "id", "limit": limit} | ({"cursor": cursor} if cursor else {})
            kept = await self._shared(f"{path}?{urlencode(asked)}").fill()
            page = msgspec.json.decode(kept.body, type=Ids)
            found += [item["id"] for item in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        return [f"{path}/{id}" for id in found]

    async def _warm(self, target: str, warmed: Warmed) -> None:
        try:
            shared = self._shared(target)
            if shared.want.key in self._seen:
                return
            self._seen.add(shared.want.key)
            kept, source = await self._tiers.get(shared.want, shared.fill)
        except (Invalid, BadRequest):
            return  # parameters that are good alone and not together
        except NotFound:
            warmed.missing += 1
            return
        except ProblemError:
            warmed.failed += 1
            return
        warmed.size += len(kept.body)
        if source is Source.FILLED:
            warmed.filled += 1
        else:
            warmed.there += 1

    def _shared(self, target: str) -> Shared:
        path, _, query = target.partition("?")
        invocation, values = self._router.resolve("GET", path)
        scope: Scope = {
            "headers": [],
            "path": path,
            "path_values": values,
            "query_string": query.encode(),
        }
        return invocation.shared(scope, values)


@asynccontextmanager
async def warmer(settings: Settings, *, at_once: int) -> AsyncIterator[Warmer]:
    """A warmer by an application of its own, until the block ends."""
    with TemporaryDirectory(prefix="mercenary-") as folder:
        options = replace(
            settings,
            shared_memory=Path(folder) / "clocks",
            cache_memory_bytes=_LEAST_MEMORY,
            valkey_timeout=_VALKEY_SECONDS,
        )
        application = Application(options, settings.sqlalchemy_database_uri or "")
        await application.start()
        try:
            yield Warmer(application, at_once=at_once)
        finally:
            await application.stop()


def first_pages(endpoints: Iterable[Endpoint]) -> Iterator[str]:
    """The first page of each shared list, in every order and with every status or role."""
    for endpoint in endpoints:
        if endpoint.cache.public and "{" not in endpoint.path:
            choices = list(_choices(Signature(endpoint).query))
            for chosen in product(*choices):
                given = [(name, value) for name, value in chosen if value is not None]
                query = f"?{urlencode(given)}" if given else ""
                yield f"{BASE_PATH}{endpoint.path}{query}"


def _choices(query: type[msgspec.Struct]) -> Iterator[list[tuple[str, Any]]]:
    """Each parameter with listed values: left out, and by each of them."""
    for field in msgspec.structs.fields(query):
        kind = bare(field.type)
        if get_origin(kind) is Literal:
            name = field.encode_name
            yield [(name, None), *((name, value) for value in get_args(kind))]
