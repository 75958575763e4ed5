"""A server on a copy of another one's files, to look whether it starts and what it holds.

Nobody but its account (and root) can reach it, and nothing of the configuration that came with the
copy holds: it archives nothing, follows nobody and loads no library.
"""

import shutil
import signal
from pathlib import Path
from urllib.parse import quote

from mercenary.local.account import Account
from mercenary.local.children import Child
from mercenary.local.folder import socket_folder
from mercenary.local.postgres import ENTRANCES, says_ready


class CopiedPostgres:
    """A server by `program`, postgres of the copy's own version, on `cluster`.

    Its socket, configuration and log are in `room`, which the account must be able to pass through.
    """

    def __init__(self, cluster: Path, room: Path, program: Path, account: Account) -> None:
        self.account = account
        self.sockets = socket_folder(room.resolve(), account)
        self._hba = self.sockets / "pg_hba.conf"
        self._conf = self.sockets / "postgresql.conf"
        options = [f"--{name}={value}" for name, value in self._options().items()]
        self.child = Child(
            "postgres",
            # The command line's word stands above postgresql.auto.conf, which lies in the copy.
            [str(program), "-D", str(cluster), *options],
            room / "postgres.log",
            lambda: says_ready(cluster, self.child.pid),
            stop_signal=signal.SIGINT,
            account=account,
            ready_within=3600.0,  # it replays all that was written while the copy was made
            stop_within=60.0,
        )

    def uri(self, role: str, database: str) -> str:
        """The address of a database in it."""
        return f"postgresql://{quote(role)}@/{quote(database)}?host={quote(str(self.sockets))}"

    def start(self) -> None:
        """Start it and wait until it takes connections. Raises `ChildError`."""
        self.account.own(self.sockets)
        self._conf.write_text("")
        self._hba.write_text(ENTRANCES)
        self.child.start()

    def stop(self) -> bool:
        """Stop it. False when it had to be killed."""
        ended = self.child.stop()
        shutil.rmtree(self.sockets, ignore_errors=True)  # where paths are long, it isn't in `room`
        return ended

    def _options(self) -> dict[str, str]:
        return {
            "config_file": str(self._conf),
            "hba_file": str(self._hba),
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "shared_preload_libraries": "",
            "session_preload_libraries": "",
            "local_preload_libraries": "",
            "archive_mode": "off",
            "synchronous_standby_names": "",
            "ssl": "off",
            "logging_collector": "off",
            "log_destination": "stderr",
            "autovacuum": "off",
            "fsync": "off",  # it is deleted as soon as it has been looked at
            "shared_buffers": "64MB",
            "max_prepared_transactions": "1000",  # not fewer than there are
        }
