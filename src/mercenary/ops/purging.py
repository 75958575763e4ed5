"""Making every cache forget what it keeps under a tag, whatever the database says.

For what has changed past the API: rows mended by hand, a restored backup, an answer that looks
wrong. A purge goes the way of every change: a row of the outbox, which survives whatever breaks
until every host, Valkey's tier and the CDN have been told. This host forgets at once.
"""

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from typing import Final

from mercenary.cache.clocks import EVERYTHING, Clocks
from mercenary.db.engine import Database
from mercenary.db.outbox import Event, insert_events, is_handed_on
from mercenary.http.endpoint import Endpoint
from mercenary.http.wire import MAX_ID

SESSIONS: Final = "sessions:{id}"
"""Whether a user's sessions live is kept, too, by no endpoint."""
LOOK_SECONDS: Final = 0.05
_ID: Final = "[1-9][0-9]{0,18}"


class UnknownTag(ValueError):
    """Nothing is ever kept under such a tag."""


class Tags:
    """The tags under which something is kept, as the endpoints declare them."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        declared = (each.cache.tag for each in endpoints if each.cache.public)
        templates = {tag for tag in declared if tag is not None} | {SESSIONS}
        self.forms = sorted(re.sub(r"{\w+}", "ID", each) for each in templates)
        """Such as `projects` and `project:ID`."""
        self._pattern = re.compile("|".join(form.replace("ID", _ID) for form in self.forms))

    def check(self, tag: str) -> None:
        """See that something can be kept under a tag.

        Raises:
            UnknownTag: nothing can.
        """
        if tag == EVERYTHING:
            return
        if not self._pattern.fullmatch(tag) or _id_in(tag) > MAX_ID:
            raise UnknownTag(tag)


def _id_in(tag: str) -> int:
    """The id in a resource's tag; 0 in any other."""
    return int(tag.partition(":")[2] or 0)


async def purge(database: Database, clocks: Clocks | None, tags: Sequence[str]) -> int:
    """Have everything under these tags forgotten, on this host before this returns.

    `clocks` are this host's, None where no worker has ever run. Gives the purge's stamp.

    Raises:
        DBAPIError, OSError: the database is away; where it was lost on COMMIT, it may be told.
    """
    table = clocks or Clocks()
    stamp = table.fresh()
    events = [Event("cache.purged", tag, key=_id_in(tag), tags=(tag,)) for tag in tags]
    try:
        async with database.connecting() as connection, connection.begin():
            await insert_events(connection, events, stamp)
    finally:
        # Where it isn't told, forgetting too much is no harm.
        table.settle(tags, stamp)
    return stamp


async def is_announced(database: Database, stamp: int, *, seconds: float) -> bool:
    """Wait until a purge has been handed on to everybody; False when it wasn't in time."""
    until = time.monotonic() + seconds
    while True:
        async with database.reading() as connection:
            if await is_handed_on(connection, stamp):
                return True
        if time.monotonic() >= until:
            return False
        await asyncio.sleep(LOOK_SECONDS)
