"""A real `mercenary serve` for what only shows on a socket."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from mercenary.local.children import Child
from mercenary.local.ports import hold_port
from mercenary.local.probe import http_answers
from mercenary.local.stack import without_settings
from mercenary.local.supervisor import mercenary_command
from mercenary.local.valkey import EmbeddedValkey
from tests.door.raw import HOST, Door
from tests.factories import Person, sign_up
from tests.generous import GENEROUS

# Short, so that a test of the slow takes no longer than it must.
PATIENCE = {
    "MERCENARY_IDLE_SECONDS": "1",
    "MERCENARY_BODY_SECONDS": "0.5",
    "MERCENARY_REQUEST_DEADLINE": "4",
}


@pytest.fixture(scope="module")
def door(
    database_uri: str, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Door]:
    """The server, on a database of the module's own."""
    log: Path = tmp_path_factory.mktemp("door") / "api.log"
    with hold_port(HOST, 0) as port:
        child = Child(
            "api",
            mercenary_command("serve", "--host", HOST, "--port", str(port), "--workers", "1"),
            log,
            lambda: http_answers(HOST, port),
            environment=without_settings()
            | GENEROUS
            | PATIENCE
            | {
                "SQLALCHEMY_DATABASE_URI": database_uri,
                "CACHE_CONFIG": valkey.cache_config,
            },
        )
        child.start()
        try:
            yield Door(port, child)
        finally:
            child.stop()


@pytest.fixture(scope="module")
async def owner(door: Door) -> AsyncIterator[Person]:
    """A client of the marketplace, so that a smuggled request could do something."""
    async with httpx.AsyncClient(base_url=door.url) as client:
        yield await sign_up(client)
