"""Each test here runs on the embedded PostgreSQL, 18, and on Debian's, 15: real servers both.

What asks PostgreSQL of itself belongs here, for its catalogs change from one version to the next.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mercenary.local.postgres import EmbeddedPostgres
from tests.conftest import TEMPLATE, make_template, server_folder

DEBIAN = Path("/usr/lib/postgresql/15/bin")


class DebianPostgres(EmbeddedPostgres):
    """Debian's server under our configuration. It knows none of the builtin locales."""

    locale = ("--locale", "C.UTF-8")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        assert DEBIAN.is_dir(), "install what .ci/run installs: postgresql-15"
        self.programs = DEBIAN
        self.child.command = [str(DEBIAN / "postgres"), *self.child.command[1:]]


@pytest.fixture(name="postgres", scope="session", params=["18", "15"])
def each_postgres(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres
) -> Iterator[EmbeddedPostgres]:
    """The session's own server, then another of Debian's."""
    if request.param == "18":
        yield postgres
        return
    with server_folder() as folder:
        server = DebianPostgres(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture(name="template", scope="session")
async def each_template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database to copy, on either server."""
    await make_template(postgres)
    return TEMPLATE
