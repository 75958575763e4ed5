"""A server of the embedded cluster: its primary or, while it follows one, a standby of it.

A standby is a copy that replays the primary's log as it is written, and answers reads. Each member
has a folder, a socket and a slot of its own. `replication.Cluster` says who is what.
"""

import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from mercenary.local.account import Account
from mercenary.local.children import ChildError, run_once
from mercenary.local.folder import SPACE_TO_START, require_space
from mercenary.local.postgres import DATABASE, MADE, EmbeddedPostgres

FIRST: Final = "postgres"
PREFIX: Final = "replica-"
# PostgreSQL starts as a standby while this file is there.
SIGNAL: Final = "standby.signal"
# In a former primary's folder: it has to be rewound before it can follow.
DEPOSED: Final = "mercenary.deposed"
COPY_WITHIN: Final = 86_400.0  # seconds; what ends a copy that hangs is a person


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
        if (self.folder / SIGNAL).exists():
            self.promote()  # that was cut off

    def spawn(self) -> None:
        """Copy the primary where there is no usable copy, start, and don't wait for it.

        Raises `SetupError`, `ChildError`. A standby whose primary is down starts as it is.
        """
        if self.name != FIRST:
            self.account.own(self.home)
        self.account.own(self.sockets)
        if (self.folder / DEPOSED).exists():
            self._rewind()
        whole = (self.folder / SIGNAL).exists()
        if not whole or (self._followed.is_ready() and not self._slot_holds()):
            self._copy()
        self._raise_connections()
        self.configure()
        self._drop_stale_locks()
        self.child.spawn()

    def restart(self) -> None:
        """Start it again. Nobody waits for a standby. Raises `SetupError`, `ChildError`."""
        if self.primary is None:
            self.start()
        else:
            self.spawn()

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
        (self.folder / SIGNAL).unlink(missing_ok=True)

    def depose(self) -> None:
        """Have it never write again, whoever starts it. It has stopped, and another will lead."""
        for name in (SIGNAL, DEPOSED):
            (self.folder / name).touch()
        sync_folder(self.folder)

    def closed_at(self) -> int | None:
        """Where the log ends of a server that has stopped in order, in bytes; else None."""
        try:
            told = self._control()
        except ChildError:
            return None  # its files are damaged or gone
        if told["Database cluster state"] != "shut down":
            return None
        high, low = told["Latest checkpoint location"].split("/")
        return (int(high, 16) << 32) + int(low, 16)

    def drop_slots(self, kept: Collection[str]) -> None:
        """Drop the slots of all members but these."""
        for name in self.slots():
            if name not in kept and name.startswith((slot_of(PREFIX), FIRST)):
                self.drop_slot(name)

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

    def _rewind(self) -> None:
        """Take back what a former primary has written since the present one was promoted.

        Where that can't be done, it is left to be copied.
        """
        primary = self._followed
        if not primary.is_ready():
            raise ChildError(f"{self.name} can't be rewound while {primary.name} is down", "")
        primary.reserve_slot(self.slot)
        self._drop_stale_locks()
        # What is cut off half-way can't be used, pg_rewind recovers no standby, and as another
        # account it can't write what is the caller's.
        for name in (DEPOSED, SIGNAL, MADE):
            (self.folder / name).unlink(missing_ok=True)
        source = f"host={quoted(str(primary.sockets))} user={DATABASE} dbname={DATABASE}"
        command = [
            str(self.programs / "pg_rewind"),
            *("--target-pgdata", str(self.folder), "--source-server", source),
        ]
        try:
            run_once(command, account=self.account, within=COPY_WITHIN, halted=self.child.halted)
        except ChildError as error:
            with self.child.log.open("a") as log:
                log.write(f"{error}, so it is copied: {error.output}\n")
        else:
            for slot in (self.folder / "pg_replslot").iterdir():
                shutil.rmtree(slot)  # of those that followed it, as in a copy
            (self.folder / SIGNAL).touch()
            # It can be read once it has what was inserted there until now.
            primary.flush_log()

    def _copy(self) -> None:
        primary = self._followed
        require_space(self.folder.parent, SPACE_TO_START)
        if self.exists and not (self.folder / SIGNAL).exists():
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
            run_once(command, account=self.account, within=COPY_WITHIN, halted=self.child.halted)
            (making / SIGNAL).touch()
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
        # A standby that takes fewer than its primary, as the log says, refuses to start.
        recorded = int(self._control()["max_connections setting"])
        self.connections = max(self._least_connections, recorded)

    def _control(self) -> Mapping[str, str]:
        """What the server's control file says, under the names of pg_controldata."""
        told = run_once(
            [str(self.programs / "pg_controldata"), str(self.folder)],
            environment={"LC_ALL": "C"},
            account=self.account,
        )
        pairs = (line.partition(":") for line in told.splitlines())
        return {name: value.strip() for name, _, value in pairs}

    def _options(self) -> dict[str, str]:
        if self.primary is None:
            return super()._options()
        host = quoted(str(self.primary.sockets))
        conninfo = f"host={host} user={DATABASE} application_name={self.child.name}"
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


def quoted(value: str) -> str:
    """A value as it stands in a libpq connection string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
