"""PgBouncer with the configuration of `deploy/`, in front of the tests' PostgreSQL."""

import os
import random
import shutil
import signal
import socket
from pathlib import Path

from sqlalchemy import make_url

from mercenary.local.children import Child
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.processes import kill_group

HOST = "127.0.0.1"
PASSWORD = "change-this-password"
DEPLOYED = Path(__file__).parents[2] / "deploy/pgbouncer"
# Below the ports that the kernel gives away, so that one stays free while nothing listens there.
_PORTS = range(20_000, 32_000)


class PgBouncer:
    """One PgBouncer with so many server connections for each database."""

    def __init__(self, folder: Path, postgres: EmbeddedPostgres, *, size: int) -> None:
        self.port = _free_port()
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None, "install what .ci/run installs: pgbouncer"
        users = folder / "userlist.txt"
        users.write_bytes((DEPLOYED / "userlist.txt").read_bytes())
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            _changed(
                (DEPLOYED / "pgbouncer.ini").read_text(),
                {
                    "mercenary = host=127.0.0.1 port=5432 dbname=mercenary": "* = host="
                    f"{postgres.sockets} user=mercenary",
                    "listen_port = 6432": f"listen_port = {self.port}\nunix_socket_dir =",
                    "/etc/pgbouncer/userlist.txt": str(users),
                    "default_pool_size = 20": f"default_pool_size = {size}",
                    "reserve_pool_size = 5": "reserve_pool_size = 0",
                },
            )
        )
        self.child = Child(
            "pgbouncer",
            [program, str(configuration)],
            folder / "pgbouncer.log",
            self._listens,
            stop_signal=signal.SIGTERM,
            account=postgres.account,
        )

    def uri(self, database: str) -> str:
        """The way through it to what `database`, the URI of the server itself, leads to."""
        url = make_url(database).difference_update_query(["host"])
        through = url.set(host=HOST, port=self.port, password=PASSWORD)
        return through.render_as_string(hide_password=False)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL), and wait until it is gone."""
        assert self.child.process is not None
        kill_group(self.child.process.pid)
        self.child.process.wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0


def _changed(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def _free_port() -> int:
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) != 0:
                return port
