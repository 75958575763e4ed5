"""Each test here runs on the embedded PostgreSQL, 18, and on Debian's, 15: real servers both.

What asks PostgreSQL of itself belongs here, for its catalogs change from one version to the next.
OTHER_POSTGRES names the folder of another version's programs, to run the tests on that instead.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mercenary.local.postgres import EmbeddedPostgres
from tests.conftest import TEMPLATE, make_template, server_folder

OTHER = Path(os.environ.get("OTHER_POSTGRES", "/usr/lib/postgresql/15/bin"))


class OtherPostgres(EmbeddedPostgres):
    """Another version's server under our configuration. Before 17 none has builtin locales."""

    locale = ("--locale", "C.UTF-8")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        assert OTHER.is_dir(), "install what .ci/run installs: postgresql-15"
        self.programs = OTHER
        self.child.command = [str(OTHER / "postgres"), *self.child.command[1:]]


@pytest.fixture(name="postgres", scope="session", params=["embedded", "other"])
def each_postgres(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres
) -> Iterator[EmbeddedPostgres]:
    """The session's own server, then the other one."""
    if request.param == "embedded":
        yield postgres
        return
    with server_folder() as folder:
        server = OtherPostgres(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture(name="template", scope="session")
async def each_template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database to copy, on either server."""
    await make_template(postgres)
    return TEMPLATE
