"""Purging as the relay sees it: a sink for what it takes, and tasks that tell the CDN."""

import asyncio
import re
from collections.abc import Iterable
from typing import Final

import httpx
import structlog
from msgspec.structs import replace

from mercenary import __version__
from mercenary.cdn import queries
from mercenary.cdn.purger import Purger
from mercenary.cdn.queries import EVERYTHING
from mercenary.cdn.targets import targets_of
from mercenary.database_settings import EngineOptions
from mercenary.db.engine import Database
from mercenary.db.faults import as_problem
from mercenary.events.sinks import Handover, Sink
from mercenary.settings import Settings

log = structlog.get_logger()

_TAG: Final = re.compile(r"([a-z][a-z_-]*)(?::[0-9]{1,19})?")
# One for what is to be forgotten, one for what was told; both are short.
_CONNECTIONS: Final = EngineOptions(pool_size=2, max_overflow=0)


class Purging(Sink):
    """What the CDN of the settings is told. Without one it stores nothing and tells nobody.

    `public` names the kinds of what guests may see, as tags begin: `project`, `projects`. Tags of
    anything else, such as sessions, never leave the house.
    """

    name = "cdn"

    def __init__(self, settings: Settings, uri: str, public: Iterable[str]) -> None:
        self._database = Database(replace(settings, sqlalchemy_engine_options=_CONNECTIONS), uri)
        self._public = frozenset(public)
        self._client = httpx.AsyncClient(headers={"User-Agent": f"mercenary/{__version__}"})
        targets = targets_of(settings)
        self._targets = [target.name for target in targets]
        self._kept: set[int] = set()
        self.purgers = [Purger(self._database, target, self._client) for target in targets]

    async def take(self, handover: Handover) -> None:
        """Store what is to be forgotten.

        In a transaction of its own, and once: while another sink can't take the rows, because
        Valkey is away, they are handed on again and again, and the CDN is told all the same.
        """
        if not self._targets:
            return
        new = [row for row in handover.rows if row.id not in self._kept]
        tags = {tag for row in new for tag in row.event.tags if self._may_leave(tag)}
        if tags:
            async with self._database.connecting() as connection, connection.begin():
                await queries.ask_for_purges(connection, self._targets, tags)
        self._kept = {row.id for row in handover.rows}

    async def run(self, stopping: asyncio.Event) -> None:
        """Tell each target what is due, until `stopping` is set."""
        await self._forget_others()
        if not self._targets:
            await self._database.engine.dispose()
            return
        async with asyncio.TaskGroup() as group:
            for purger in self.purgers:
                group.create_task(purger.run(stopping))

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()
        await self._database.close()

    async def _forget_others(self) -> None:
        """Remove what would be told to a target that the settings don't name any more."""
        try:
            async with self._database.connecting() as connection, connection.begin():
                await queries.delete_for_others(connection, self._targets)
        except Exception as error:  # noqa: BLE001 - they are no burden, and go the next time
            log.warning("purges of former targets stay", cause=repr(as_problem(error)))

    def _may_leave(self, tag: str) -> bool:
        if tag == EVERYTHING:
            return True
        named = _TAG.fullmatch(tag)
        return named is not None and named[1] in self._public
