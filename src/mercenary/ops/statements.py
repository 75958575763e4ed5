"""Which statements a request sends: the application answers it here, past its cache."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
import msgspec
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from mercenary.app import Application
from mercenary.db import engine
from mercenary.db.sending import Sent
from mercenary.settings import Settings

_CONTROL: Final = ("SET ", "BEGIN", "COMMIT", "ROLLBACK", "SELECT set_config", "EXPLAIN")


class Answered(msgspec.Struct, frozen=True):
    """A request's status, and what it asked the database."""

    status: int
    statements: Sequence[Sent]


async def statements_of(settings: Settings, target: str, token: str | None) -> Answered:
    """GET a path with its query, as a guest or with an access token, and note what is asked."""
    with TemporaryDirectory(prefix="mercenary-") as folder:
        # Clocks of its own: its coming and going empties nobody's memory.
        options = msgspec.structs.replace(
            settings,
            shared_memory=Path(folder) / "clocks",
            replica_uris=(),  # what a replica is asked is asked of the primary, where it is noted
        )
        application = Application(options, settings.sqlalchemy_database_uri or "")
        await application.start()
        try:
            headers = {"Cache-Control": "no-cache"}
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            transport = httpx.ASGITransport(application)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                with _noted(engine.current().engine) as sent:
                    answer = await client.get(target, headers=headers)
        finally:
            await application.stop()
    return Answered(answer.status_code, list(sent))


@contextmanager
def _noted(database: AsyncEngine) -> Iterator[list[Sent]]:
    sent: list[Sent] = []

    def note(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> None:
        if not statement.lstrip().startswith(_CONTROL):
            sent.append(Sent(statement, tuple(parameters or ())))

    event.listen(database.sync_engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.sync_engine, "before_cursor_execute", note)
