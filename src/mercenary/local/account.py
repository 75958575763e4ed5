"""Which user the embedded servers run as, and whether that user can get at a folder.

PostgreSQL refuses to run as root. When root calls, its servers run as an account that owns nothing
else; for everybody else they run as the caller.
"""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mercenary.settings import SetupError

# An account made for this comes first; `nobody` is on every Unix.
CANDIDATES: Final = ("mercenary", "postgres", "nobody")
# Where root's servers keep what they can't reach inside a root-only home.
SHARED_HOME: Final = Path("/var/lib/mercenary")


@dataclass(frozen=True)
class Account:
    """Who runs the servers. `switched` says that it isn't the caller."""

    name: str
    uid: int
    gid: int
    switched: bool

    def spawning(self) -> dict[str, Any]:
        """What a subprocess call needs in order to run as this account."""
        if not self.switched:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, folder: Path) -> None:
        """Make `folder` where it is missing, and give it to this account alone (mode 0700)."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.switched:
            os.chown(folder, self.uid, self.gid)
        folder.chmod(0o700)

    def crosses(self, folder: Path) -> bool:
        """Whether the account can get to what `folder` holds: x on it and on all above it."""
        if not self.switched:
            return True
        resolved = folder.resolve()
        return all(self._may_enter(step) for step in (resolved, *resolved.parents))

    def _may_enter(self, folder: Path) -> bool:
        facts = folder.stat()
        if facts.st_uid == self.uid:
            return bool(facts.st_mode & stat.S_IXUSR)
        if facts.st_gid == self.gid:
            return bool(facts.st_mode & stat.S_IXGRP)
        return bool(facts.st_mode & stat.S_IXOTH)


def serving_account() -> Account:
    """The caller, or for root the first unprivileged account there is. Raises `SetupError`."""
    uid = os.geteuid()
    if uid != 0:
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            raise SetupError(
                f"user id {uid} has no name, and PostgreSQL wants one; "
                "add a line for it to /etc/passwd"
            ) from None
        return Account(name, uid, os.getegid(), switched=False)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid, switched=True)
    raise SetupError(
        "PostgreSQL can't run as root, and there is no account to run it as; "
        "make one (useradd --system mercenary) or call as a plain user"
    )
