"""A standby of the embedded PostgreSQL: a copy that replays the primary's log as it is written.

Each has a folder, a socket and a physical replication slot of its own. It answers reads.
"""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

from mercenary.local.account import Account
from mercenary.local.children import run_once
from mercenary.local.folder import SPACE_TO_START, require_space
from mercenary.local.postgres import DATABASE, EmbeddedPostgres

PREFIX: Final = "replica-"
# A standby whose primary recorded more of these than it has itself refuses to start.
_CONNECTIONS: Final = re.compile(r"^max_connections setting: +(\d+)$", re.MULTILINE)


class EmbeddedStandby(EmbeddedPostgres):
    """A standby of `primary` in `folder`/replica-`number`, copied by the first `start()`."""

    def __init__(
        self,
        folder: Path,
        primary: EmbeddedPostgres,
        number: int,
        *,
        logs: Path | None = None,
        account: Account | None = None,
    ) -> None:
        name = f"{PREFIX}{number}"
        super().__init__(
            folder / name,
            logs=logs or folder,
            account=account,
            connections=primary.connections,
            name=name,
        )
        self.primary = primary
        self.slot = slot_of(name)

    def spawn(self) -> None:
        """Copy the primary where there is no usable copy, start, and don't wait for it.

        Raises `SetupError`, `ChildError`. A standby whose primary is down starts as it is.
        """
        self.account.own(self.folder.parent)
        self.account.own(self.sockets)
        whole = (self.folder / "standby.signal").exists()
        if not whole or (self.primary.is_ready() and not self._slot_holds()):
            self._copy()
        self._raise_connections()
        self.configure()
        self._drop_stale_locks()
        self.child.spawn()

    def start(self) -> None:
        """Start it and wait until it answers reads. Raises as `spawn` does."""
        self.spawn()
        self.child.wait_ready()

    def _slot_holds(self) -> bool:
        """Whether the primary still has all of the log that this copy needs."""
        return self.primary.slots().get(self.slot, "lost") != "lost"

    def _copy(self) -> None:
        require_space(self.folder.parent, SPACE_TO_START)
        if self.folder.exists():
            shutil.rmtree(self.folder)  # cut off, or too far behind
        # Before the copy begins, so that nothing of the log is missing once it is made.
        self.primary.reserve_slot(self.slot)
        making = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.folder.parent))
        self.account.own(making)
        command = [
            str(self.programs / "pg_basebackup"),
            *("-h", str(self.primary.sockets), "-U", DATABASE, "-D", str(making)),
            *("--checkpoint", "fast", "--wal-method", "stream", "--slot", self.slot),
        ]
        try:
            run_once(command, account=self.account, halted=self.child.halted)
            (making / "standby.signal").touch()
            making.rename(self.folder)  # whole or not at all
        finally:
            if making.exists():
                shutil.rmtree(making)

    def _raise_connections(self) -> None:
        told = run_once(
            [str(self.programs / "pg_controldata"), str(self.folder)],
            environment={"LC_ALL": "C"},
            account=self.account,
        )
        found = _CONNECTIONS.search(told)
        recorded = int(found[1]) if found else 0
        self.connections = max(self.primary.connections, recorded)

    def _options(self) -> dict[str, str]:
        host = str(self.primary.sockets).replace("\\", "\\\\").replace("'", "\\'")
        conninfo = f"host='{host}' user={DATABASE} application_name={self.child.name}"
        return {
            **super()._options(),
            "primary_conninfo": conninfo.replace("'", "''"),
            "primary_slot_name": self.slot,
            "recovery_target_timeline": "latest",
            # Without it the primary's vacuum cancels long reads here. What it costs is bounded:
            # no statement of ours reads longer than its timeout.
            "hot_standby_feedback": "on",
            # So often the primary hears how far this one is.
            "wal_receiver_status_interval": "1s",
        }


def slot_of(name: str) -> str:
    """A server's slot: names of slots hold no hyphens."""
    return name.replace("-", "_")
