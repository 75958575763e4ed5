"""The embedded primary and its standbys: as many as are asked for, and who takes whose place.

`mercenary up --replicas N --synchronous M` is this. The primary is started first.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from mercenary.local.account import Account
from mercenary.local.children import ChildError
from mercenary.local.folder import socket_folder
from mercenary.local.member import FIRST, PREFIX, EmbeddedMember, slot_of
from mercenary.local.postgres import DATABASE, EmbeddedPostgres
from mercenary.local.processes import kill_inside
from mercenary.settings import SetupError

PRIMARY: Final = "primary"
# After a crash the primary replays its log. Once that takes longer, a standby is there sooner.
READY_WITHIN: Final = 10.0


def refuse_impossible(replicas: int, synchronous: int, own_database: str | None) -> None:
    """Raise `SetupError` for standbys that can't be had."""
    if replicas and own_database is not None:
        raise SetupError(
            "standbys are run beside our database, and SQLALCHEMY_DATABASE_URI names yours; "
            "name its replicas in MERCENARY_REPLICA_URIS"
        )
    if synchronous > replicas:
        raise SetupError(
            f"{synchronous} of {replicas} standbys can't hold a commit, so none would ever end; "
            "give at least as many --replicas as --synchronous"
        )


class Cluster:
    """The servers of one data folder: a primary and the standbys that follow it.

    The file `primary` in `servers` says whose word counts. It is written before another is
    promoted, so that a former primary never takes writes again, however a run ends.
    """

    def __init__(
        self,
        servers: Path,
        replicas: int,
        synchronous: int,
        *,
        logs: Path,
        account: Account,
        connections: int,
    ) -> None:
        self._servers = servers
        self._synchronous = synchronous
        truth = servers / PRIMARY
        first = truth.read_text().strip() if truth.exists() else FIRST
        names = [FIRST, *(f"{PREFIX}{number}" for number in range(1, replicas + 1))]
        others = [name for name in names if name != first][:replicas]

        def member(name: str, primary: EmbeddedMember | None = None) -> EmbeddedMember:
            return EmbeddedMember(
                servers, name, primary, logs=logs, account=account, connections=connections
            )

        self.primary = member(first)
        self.members = [self.primary, *(member(name, self.primary) for name in others)]
        if not self.primary.exists and (truth.exists() or any(servers.glob(f"{PREFIX}*"))):
            raise SetupError(
                f"the primary {first} has lost its files in {self.primary.folder}, and its "
                "standbys may hold them; bring them back, or begin anew with --fresh"
            )

    @property
    def standbys(self) -> list[EmbeddedMember]:
        """All but the primary."""
        return [member for member in self.members if member is not self.primary]

    @property
    def uri(self) -> str:
        """The address of whichever takes writes, the same one after a promotion."""
        return address_of_all(self.members)

    def start_standbys(self, watch: Callable[[EmbeddedPostgres], None]) -> None:
        """Start the standbys and wait until all answer reads. The primary runs already.

        `watch` is told of each before it starts. Raises `SetupError`, `ChildError`.
        """
        self._remove_left_over()
        for standby in self.standbys:
            watch(standby)
            standby.spawn()
        for standby in self.standbys:
            standby.child.wait_ready()
        # Not before: while none is there, every commit would wait.
        self.primary.change(self._quorum(self.primary))
        if self.standbys:
            self.primary.child.ready_within = READY_WITHIN

    def promote(self, name: str | None = None) -> EmbeddedMember:
        """Put the standby that has most of the log, or the named one, in the primary's place.

        The former primary is stopped first, and is to be started as a standby. Raises `ChildError`,
        and then `primary` says who is to be started as such.
        """
        former = self.primary
        former.child.stop()  # in order where it can: then its standbys have all of its log
        kill_inside(former.folder)
        chosen, reached = self._chosen(name)
        rest = [member for member in self.members if member not in (chosen, former)]
        for standby in rest:
            chosen.reserve_slot(standby.slot)
        self._note_primary(chosen)
        former.forget_copy()
        former.follow(chosen)
        self.primary = chosen
        for standby in rest:
            if standby not in reached:
                standby.forget_copy()  # it may be ahead
            standby.follow(chosen)  # a standby, too, can be followed
        chosen.child.ready_within = READY_WITHIN
        chosen.lead(self._quorum(chosen))
        return chosen

    def _note_primary(self, chosen: EmbeddedMember) -> None:
        """Write down whose word counts, so that it outlives a power cut."""
        making = self._servers / f"{PRIMARY}.new"
        with making.open("w") as file:
            file.write(chosen.name)
            file.flush()
            os.fsync(file.fileno())
        making.replace(self._servers / PRIMARY)
        folder = os.open(self._servers, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _chosen(self, name: str | None) -> tuple[EmbeddedMember, list[EmbeddedMember]]:
        """Who is to be promoted, and all that could be asked how far they are."""
        positions: dict[EmbeddedMember, int] = {}
        for standby in self.standbys:
            if standby.is_ready():
                positions[standby] = standby.position()
        away = len(self.standbys) - len(positions)
        if not positions or (self._synchronous and away >= self._synchronous):
            raise ChildError(
                f"no standby can be promoted: {away} of {len(self.standbys)} are down, "
                "and may be all that hold some commit",
                "",
            )
        furthest = max(positions.values())
        ahead = [each for each, position in positions.items() if position == furthest]
        for standby in ahead:
            if name in (None, standby.name):
                return standby, list(positions)
        raise ChildError(f"{name} can't be promoted: {ahead[0].name} has more of the log", "")

    def _quorum(self, primary: EmbeddedMember) -> dict[str, str]:
        others = [member for member in self.members if member is not primary]
        return {
            "synchronous_standby_names": (
                any_of(self._synchronous, others) if self._synchronous else ""
            )
        }

    def _remove_left_over(self) -> None:
        """Remove the members of former runs that are too many now, slots first."""
        kept = {member.name for member in self.members}
        slots = {member.slot for member in self.standbys}
        for slot in self.primary.slots():
            if slot not in slots and slot.startswith((slot_of(PREFIX), FIRST)):
                self.primary.drop_slot(slot)
        for folder in (*self._servers.glob(f"{PREFIX}*"), self._servers / FIRST):
            if folder.name not in kept and folder.exists():
                remove_server(folder, self.primary.account)


def remove_server(folder: Path, account: Account) -> None:
    """Delete a standby's files, and its sockets where they lie elsewhere."""
    sockets = socket_folder(folder, account)
    for each in (folder, sockets):
        if each.exists():
            shutil.rmtree(each)


def any_of(synchronous: int, standbys: Sequence[EmbeddedPostgres]) -> str:
    """A value for synchronous_standby_names: a quorum of so many."""
    names = ", ".join(f'"{standby.child.name}"' for standby in standbys)
    return f"ANY {synchronous} ({names})"


def address_of_all(servers: Sequence[EmbeddedPostgres]) -> str:
    """The address of whichever takes writes, as libpq, asyncpg and SQLAlchemy take it."""
    if len(servers) == 1:
        return servers[0].uri
    hosts = ",".join(quote(str(server.sockets)) for server in servers)
    ports = ",".join("5432" for _ in servers)
    return (
        f"postgresql://{DATABASE}@/{DATABASE}?host={hosts}&port={ports}"
        "&target_session_attrs=read-write"
    )
