"""Purging as the relay sees it: it hands on what it took, and runs what tells the CDN."""

import asyncio
import re
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Final

import httpx
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary import __version__
from mercenary.cdn import queries
from mercenary.cdn.purger import Purger
from mercenary.cdn.queries import EVERYTHING
from mercenary.cdn.targets import targets_of
from mercenary.db.engine import Database
from mercenary.db.faults import as_problem
from mercenary.errors import ProblemError

log = structlog.get_logger()

_TAG: Final = re.compile(r"([a-z][a-z_-]*)(?::[0-9]{1,19})?")


class Purging:
    """What the CDN of the settings is told. Without one it stores nothing and runs nothing.

    `public` names the kinds of what guests may see, as tags begin: `project`, `projects`. Tags of
    anything else, such as sessions, never leave the house.
    """

    def __init__(self, database: Database, public: Iterable[str]) -> None:
        self._database = database
        self._public = frozenset(public)
        self._client = httpx.AsyncClient(headers={"User-Agent": f"mercenary/{__version__}"})
        targets = targets_of(database.settings)
        self._targets = [target.name for target in targets]
        self.purgers = [Purger(database, target, self._client) for target in targets]

    async def keep(self, tx: AsyncConnection, tags: Iterable[str]) -> None:
        """Store what is to be forgotten, in the transaction of the caller."""
        if not self._targets:
            return
        known = {tag for tag in tags if self._may_leave(tag)}
        if known:
            await queries.ask_for_purges(tx, self._targets, known)

    async def run(self, stopping: asyncio.Event) -> None:
        """Tell each target what is due, until `stopping` is set. Call it once."""
        await self._forget_others()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._client)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            for purger in self.purgers:
                group.create_task(purger.run(stopping))

    async def _forget_others(self) -> None:
        """Remove what would be told to a target that the settings don't name any more."""
        try:
            async with self._database.connecting() as connection, connection.begin():
                await queries.delete_for_others(connection, self._targets)
        except Exception as error:
            problem = as_problem(error)
            if not isinstance(problem, ProblemError):
                raise
            log.warning("purges of former targets stay", problem=problem.slug)

    def _may_leave(self, tag: str) -> bool:
        if tag == EVERYTHING:
            return True
        named = _TAG.fullmatch(tag)
        return named is not None and named[1] in self._public
