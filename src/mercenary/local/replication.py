"""The embedded primary's standbys: as many as are asked for, and none that was left over.

`mercenary up --replicas N --synchronous M` is this. The primary is started first.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from mercenary.local.account import Account
from mercenary.local.folder import socket_folder
from mercenary.local.postgres import DATABASE, EmbeddedPostgres
from mercenary.local.standby import PREFIX, EmbeddedStandby, slot_of
from mercenary.settings import SetupError


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


def start_standbys(
    primary: EmbeddedPostgres,
    servers: Path,
    count: int,
    *,
    synchronous: int,
    logs: Path,
    watch: Callable[[EmbeddedPostgres], None],
) -> list[EmbeddedStandby]:
    """Start `count` standbys in `servers` and wait until all answer reads.

    `synchronous` of them, whichever are first, have each commit on their disks before it is
    acknowledged. `watch` is told of each before it starts. Raises `SetupError`, `ChildError`.
    """
    remove_left_over(primary, servers, count)
    standbys = [
        EmbeddedStandby(servers, primary, number, logs=logs, account=primary.account)
        for number in range(1, count + 1)
    ]
    for standby in standbys:
        watch(standby)
        standby.spawn()
    for standby in standbys:
        standby.child.wait_ready()
    if synchronous:
        # Not before: while none is there, every commit would wait.
        primary.change({"synchronous_standby_names": any_of(synchronous, standbys)})
    return standbys


def remove_left_over(primary: EmbeddedPostgres, servers: Path, count: int) -> None:
    """Remove the standbys of former runs whose number is above `count`, slots first."""
    kept = {f"{PREFIX}{number}" for number in range(1, count + 1)}
    for slot in primary.slots():
        if slot.startswith(slot_of(PREFIX)) and slot not in map(slot_of, kept):
            primary.drop_slot(slot)
    for folder in servers.glob(f"{PREFIX}*"):
        if folder.name not in kept:
            remove_server(folder, primary.account)


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
