"""A server of the embedded cluster: its primary or, while it follows one, a standby of it.

A standby is a copy that replays the primary's log as it is written, and answers reads. Each member
has a folder, a socket and a slot of its own. `replication.Cluster` says who is what.
"""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mercenary.local.account import Account
from mercenary.local.children import ChildError, run_once
from mercenary.local.folder import SPACE_TO_START, require_space
from mercenary.local.postgres import DATABASE, EmbeddedPostgres

FIRST: Final = "postgres"
PREFIX: Final = "replica-"
STANDBY: Final = "standby.signal"
# A standby whose primary recorded more of these than it has itself refuses to start.
_CONNECTIONS: Final = re.compile(r"^max_connections setting: +(\d+)$", re.MULTILINE)


class EmbeddedMember(EmbeddedPostgres):
    """A member of the cluster in `servers`. Without a `primary` it is the primary itself.

    The first is named `postgres` and lies in the folder itself, `replica-1` in a folder in there.
    """

    def __init__(
        self,
        servers: Path,
        name: str,
        primary: "EmbeddedMember | None" = None,
        *,
        logs: Path,
        account: Account,
        connections: int,
    ) -> None:
        home = servers if name == FIRST else servers / name
        super().__init__(home, logs=logs, account=account, connections=connections, name=name)
        self.home = home
        self.primary = primary
        self.slot = slot_of(name)
        self._least_connections = connections
        self._made = False

    @property
    def exists(self) -> bool:
        """Whether there is a cluster in its folder."""
        return (self.folder / "PG_VERSION").exists()

    def start(self) -> None:
        """Start it and wait until it can be used. Raises `SetupError`, `ChildError`."""
        if self.primary is not None:
            self.spawn()
            self.child.wait_ready()
            return
        if self._made and not self.exists:
            # A new and empty one must never take its place.
            raise ChildError(f"{self.child.name} has lost its files", "")
        if self.name != FIRST:
            self.account.own(self.home)
        super().start()
        self._made = True
        if (self.folder / STANDBY).exists():
            self.promote()  # it was cut off on the way

    def spawn(self) -> None:
        """Copy the primary where there is no usable copy, start, and don't wait for it.

        Raises `SetupError`, `ChildError`. A standby whose primary is down starts as it is.
        """
        if self.name != FIRST:
            self.account.own(self.home)
        self.account.own(self.sockets)
        whole = (self.folder / STANDBY).exists()
        primary = self._followed
        if not whole or (primary.is_ready() and not self._slot_holds()):
            self._copy()
        self._raise_connections()
        self.configure()
        self._drop_stale_locks()
        self.child.spawn()

    def follow(self, primary: "EmbeddedMember") -> None:
        """Take the log from this one from now on; a server that runs does it without a restart."""
        self.primary = primary
        self._changes.clear()
        if self.is_ready():
            self.change({})
        else:
            self.child.stop()  # it starts again by what holds then

    def lead(self, changes: Mapping[str, str]) -> None:
        """Become the primary, with these options.

        Raises `ChildError` when it doesn't; then it has stopped, and is one once it starts.
        """
        self.primary = None
        self._made = True
        try:
            self.change(changes)  # before the first commit
            self.promote()
        except ChildError:
            self.child.stop()
            raise

    def forget_copy(self) -> None:
        """Have the next start copy the primary anew."""
        (self.folder / STANDBY).unlink(missing_ok=True)

    @property
    def _followed(self) -> "EmbeddedMember":
        if self.primary is None:
            raise RuntimeError(f"{self.child.name} follows nobody")
        return self.primary

    @property
    def name(self) -> str:
        """What it goes by, in the log's sender as well."""
        return self.child.name

    def _slot_holds(self) -> bool:
        """Whether the primary still has all of the log that this copy needs."""
        return self._followed.slots().get(self.slot, "lost") != "lost"

    def _copy(self) -> None:
        primary = self._followed
        require_space(self.folder.parent, SPACE_TO_START)
        if self.exists and not (self.folder / STANDBY).exists():
            self._set_aside()
        elif self.folder.exists():
            shutil.rmtree(self.folder)  # too far behind
        # Before the copy begins, so that nothing of the log is missing once it is made.
        primary.reserve_slot(self.slot)
        making = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.folder.parent))
        self.account.own(making)
        command = [
            str(self.programs / "pg_basebackup"),
            *("-h", str(primary.sockets), "-U", DATABASE, "-D", str(making)),
            *("--checkpoint", "fast", "--wal-method", "stream", "--slot", self.slot),
        ]
        try:
            run_once(command, account=self.account, halted=self.child.halted)
            (making / STANDBY).touch()
            making.rename(self.folder)  # whole or not at all
        finally:
            if making.exists():
                shutil.rmtree(making)

    def _set_aside(self) -> None:
        """Keep a former primary's files: without synchronous standbys they may hold commits that
        nobody else has."""
        former = self.folder.with_name("postgres.former")
        if former.exists():
            shutil.rmtree(former)
        self.folder.rename(former)

    def _raise_connections(self) -> None:
        told = run_once(
            [str(self.programs / "pg_controldata"), str(self.folder)],
            environment={"LC_ALL": "C"},
            account=self.account,
        )
        found = _CONNECTIONS.search(told)
        recorded = int(found[1]) if found else 0
        self.connections = max(self._least_connections, recorded)

    def _options(self) -> dict[str, str]:
        if self.primary is None:
            return super()._options()
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
