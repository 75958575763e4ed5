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
from mercenary.local.children import ChildError, wait_until
from mercenary.local.folder import socket_folder
from mercenary.local.member import FIRST, PREFIX, SIGNAL, EmbeddedMember, sync_folder
from mercenary.local.postgres import DATABASE, EmbeddedPostgres
from mercenary.local.processes import kill_inside
from mercenary.settings import SetupError

PRIMARY: Final = "primary"
# After a crash the primary replays its log. Once that takes longer, a standby is there sooner.
READY_WITHIN: Final = 10.0
RECEIVED_WITHIN: Final = 5.0


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
        self._truth = servers / PRIMARY
        first = self._truth.read_text().strip() if self._truth.exists() else FIRST
        names = [FIRST, *(f"{PREFIX}{number}" for number in range(1, replicas + 1))]
        others = [name for name in names if name != first][:replicas]

        def member(name: str, primary: EmbeddedMember | None = None) -> EmbeddedMember:
            return EmbeddedMember(
                servers, name, primary, logs=logs, account=account, connections=connections
            )

        self.primary = member(first)
        self.members = [self.primary, *(member(name, self.primary) for name in others)]

    def leave_out_missing(self) -> None:
        """Do without the standbys that have no files here."""
        self.members = [each for each in self.members if each is self.primary or each.exists]

    @property
    def standbys(self) -> list[EmbeddedMember]:
        """All but the primary."""
        return [member for member in self.members if member is not self.primary]

    @property
    def uri(self) -> str:
        """The address of whichever takes writes, the same one after a promotion."""
        return address_of_all(self.members)

    @property
    def can_spare_primary(self) -> bool:
        """Whether there is a standby for its place, and enough others to hold each commit."""
        ready = sum(standby.is_ready() for standby in self.standbys)
        return 0 < self._synchronous < ready

    def start_primary(self) -> None:
        """Start it, a new and empty one where none was ever. Raises `SetupError`, `ChildError`."""
        others = self._truth.exists() or any(self._servers.glob(f"{PREFIX}*"))
        if not self.primary.exists and others:
            raise SetupError(
                f"the primary {self.primary.name} has lost its files in {self.primary.folder}; "
                "bring them back, or have a standby take its place by `mercenary db promote`"
            )
        self.primary.start()

    def start_standbys(self, watch: Callable[[EmbeddedMember], None]) -> None:
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

    def promote(self, name: str | None = None, *, failed: bool = False) -> EmbeddedMember:
        """Put the standby that has most of the log, or the named one, in the primary's place.

        The former primary is stopped first, and is to be started as a standby: by a new copy if it
        has `failed` to start. Raises `ChildError`, and then `primary` says who is to be started as
        such.
        """
        former = self.primary
        if former.is_ready():
            self._require_followers(name)
        former.child.stop()  # in order where it can: then its standbys have all of its log
        kill_inside(former.folder)
        chosen, reached = self._chosen(name, self._least(former, failed=failed))
        rest = [member for member in self.members if member not in (chosen, former)]
        for standby in rest:
            chosen.reserve_slot(standby.slot)
        self._note_primary(chosen)
        if former.exists and not failed:
            former.depose()
        former.follow(chosen)
        self.primary = chosen
        for standby in rest:
            if standby not in reached:
                standby.forget_copy()  # it may be ahead
            standby.follow(chosen)  # a standby, too, can be followed
        chosen.child.ready_within = READY_WITHIN
        chosen.lead(self._quorum(chosen))
        return chosen

    def _require_followers(self, name: str | None) -> None:
        """Have nobody interrupted for what can't be done. Raises `ChildError`."""
        following = self.primary.followers()
        if name is not None and name not in following:
            raise ChildError(f"{name} can't be promoted: it doesn't follow {self.primary.name}", "")
        if not following:
            raise ChildError(f"no standby can be promoted: none follows {self.primary.name}", "")

    def _least(self, former: EmbeddedMember, *, failed: bool) -> int:
        """Where in the log, in bytes, a standby must be to have all that was acknowledged.

        Raises `ChildError` where nobody can say.
        """
        end = former.closed_at()
        if end is not None:
            return end + 1
        if not self._synchronous and not failed:
            raise ChildError(
                f"no standby can be promoted: {former.name} wasn't stopped in order, and may hold "
                "commits that nobody else has",
                "",
            )
        return 0

    def _note_primary(self, chosen: EmbeddedMember) -> None:
        """Write down whose word counts, so that it outlives a power cut."""
        making = self._truth.with_suffix(".new")
        with making.open("w") as file:
            file.write(chosen.name)
            file.flush()
            os.fsync(file.fileno())
        making.replace(self._truth)
        sync_folder(self._servers)

    def _chosen(self, name: str | None, least: int) -> tuple[EmbeddedMember, list[EmbeddedMember]]:
        """Who is to be promoted, and all that could be asked how far they are."""
        positions: dict[EmbeddedMember, int] = {}
        for standby in self.standbys:
            if has_received(standby):
                positions[standby] = standby.position()
        away = len(self.standbys) - len(positions)
        if not positions or (self._synchronous and away >= self._synchronous):
            raise ChildError(
                f"no standby can be promoted: {away} of {len(self.standbys)} are down, "
                "and may be all that hold some commit",
                "",
            )
        furthest = max(positions.values())
        if furthest < least:
            raise ChildError("no standby can be promoted: none has all of the log", "")
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
        self.primary.drop_slots({member.slot for member in self.standbys})
        for folder in (*self._servers.glob(f"{PREFIX}*"), self._servers / FIRST):
            if folder.name not in kept and folder.exists() and not is_in_doubt(folder):
                remove_server(folder, self.primary.account)


def has_received(standby: EmbeddedPostgres) -> bool:
    """Whether a standby has come to the end of what its dead primary had sent."""
    return standby.is_ready() and wait_until(lambda: not standby.is_receiving(), RECEIVED_WITHIN)


def is_in_doubt(folder: Path) -> bool:
    """Whether a server's folder holds what may be nowhere else: no standby's, no primary's now."""
    cluster = folder if folder.name == FIRST else folder / FIRST
    return (cluster / "PG_VERSION").exists() and not (cluster / SIGNAL).exists()


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
