"""Another primary for a data folder at rest, in which no `mercenary up` runs.

The servers are started for that alone, and stopped. Whoever runs next starts with the new primary.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from mercenary.local.account import serving_account
from mercenary.local.children import ChildError, wait_until
from mercenary.local.folder import MARKER, DataFolder, plain_faults
from mercenary.local.member import PREFIX
from mercenary.local.replication import Cluster
from mercenary.local.state import read_state
from mercenary.settings import SetupError

CAUGHT_UP_WITHIN: Final = 60.0
CONNECTIONS: Final = 20
# Of standbys that are away nobody knows here what they alone may hold, so none may be.
SYNCHRONOUS: Final = 1


def promote_at_rest(path: Path, name: str | None, say: Callable[[str], None]) -> str:
    """Put the named standby in the primary's place, or the one with most of the log: its name.

    A primary that can be started hands on all of its log before; of one that can't, every standby
    must be there. `say` gets a line for people. Raises `SetupError`, `ChildError`.
    """
    if not (path / MARKER).exists():
        raise SetupError(f"there are no servers in {path}; start `mercenary up --replicas 1`")
    folder = DataFolder(path, serving_account())
    folder.open()
    try:
        with plain_faults(folder.path):
            previous = read_state(folder.path)
            if previous is not None:
                previous.stop_orphans()
            folder.prepare()
            return _promote(_cluster(folder), name, say)
    finally:
        folder.close()


def _cluster(folder: DataFolder) -> Cluster:
    numbers = [int(each.name.removeprefix(PREFIX)) for each in folder.servers.glob(f"{PREFIX}*")]
    cluster = Cluster(
        folder.servers,
        max(numbers, default=0),
        SYNCHRONOUS,
        logs=folder.logs,
        account=folder.account,
        connections=CONNECTIONS,
    )
    cluster.leave_out_missing()
    return cluster


def _promote(cluster: Cluster, name: str | None, say: Callable[[str], None]) -> str:
    names = [standby.name for standby in cluster.standbys]
    if not names or (name is not None and name not in names):
        raise SetupError(f"no such standby; there are: {', '.join(names) or 'none'}")
    try:
        leads = _start(cluster, say)
        if leads and not wait_until(
            lambda: set(names) <= set(cluster.primary.followers()), CAUGHT_UP_WITHIN
        ):
            raise ChildError("the standbys didn't catch up with the primary", "")
        return cluster.promote(name, failed=not leads).name
    finally:
        for member in (cluster.primary, *cluster.standbys):
            member.stop()


def _start(cluster: Cluster, say: Callable[[str], None]) -> bool:
    """Start whom can be started; whether the primary is among them."""
    for member in cluster.members:
        member.end_left_over()
        try:
            if member is not cluster.primary or member.exists:
                member.start()
        except ChildError as error:
            say(f"{error}: {error.reason}")
    return cluster.primary.is_ready()
