"""The data folder: ours or not, locked by one supervisor, big enough, and where things lie in it.

A marker file tells our folders from everybody else's, so that `--fresh` never empties another.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mercenary.local.account import SHARED_HOME, Account
from mercenary.settings import SetupError

MARKER: Final = ".mercenary-data"
LOCK: Final = "lock"
# A fresh cluster is 40 MB, its write-ahead log 32 MB and more, the demo data 50 MB.
SPACE_TO_START: Final = 300 * 1024 * 1024
# A Unix socket's path is at most 104 bytes on macOS, 108 on Linux; PostgreSQL's file has 14.
SOCKET_FOLDER_LENGTH: Final = 85


@contextlib.contextmanager
def plain_faults(folder: Path) -> Iterator[None]:
    """Turn what the operating system says about `folder` into a `SetupError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SetupError(full_disk(folder)) from error
        raise SetupError(
            f"the data folder {folder} can't be used ({error.strerror or error}: "
            f"{error.filename or folder}); mend it or give another with --data"
        ) from error


def full_disk(folder: Path) -> str:
    """What to say when there is no room left."""
    return f"the disk that holds {folder} is full; free some space or give another folder by --data"


def require_space(folder: Path, needed: int) -> None:
    """Raise `SetupError` when `folder` has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SetupError(
            f"the disk that holds {folder} is full: {free >> 20} MB free, {needed >> 20} MB "
            "needed; free some space or give another folder by --data"
        )


def socket_folder(servers: Path, account: Account) -> Path:
    """Where the Unix sockets go: inside `servers`, or a temporary folder when that is too long.

    Only the account (and root) can enter it.
    """
    here = servers / "run"
    if len(os.fsencode(here)) <= SOCKET_FOLDER_LENGTH:
        return here
    return Path(tempfile.gettempdir()) / f"mercenary-{account.uid}-{_digest(servers)}"


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


class DataFolder:
    """One stack's files. Open it before anything else; `close()` gives the lock back."""

    def __init__(self, path: Path, account: Account) -> None:
        self.path = path.resolve()
        self.account = account
        self.moved = False
        self.servers = self.path
        self._lock = -1

    @property
    def logs(self) -> Path:
        """Where children's output goes, a file each."""
        return self.path / "logs"

    @property
    def state(self) -> Path:
        """What `mercenary status` reads."""
        return self.path / "state.json"

    @property
    def sockets(self) -> Path:
        """The folder of the Unix sockets: only the account (and root) can enter it."""
        return socket_folder(self.servers, self.account)

    def open(self) -> None:
        """Make or recognize the folder and lock it. Raises `SetupError`."""
        with plain_faults(self.path):
            self._make()
            self._take_lock()
            (self.path / MARKER).write_text("The data of `mercenary up`. Delete it as a whole.\n")

    def prepare(self, *, fresh: bool = False) -> None:
        """Make what the servers need; `fresh` empties the folder first, when nothing runs in it."""
        with plain_faults(self.path):
            if fresh:
                self._empty()
            self.logs.mkdir(mode=0o700, exist_ok=True)
            self._place_servers()
            self._refuse_foreign_sockets()

    def close(self) -> None:
        """Give the lock back. The files stay."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def remove(self) -> None:
        """Delete everything, wherever it lies. Call it when nothing runs in it any more."""
        elsewhere = self._elsewhere()
        homes = (self.path, elsewhere)
        servers = {each for home in homes for each in (home, *home.glob("replica-*"))}
        sockets = {socket_folder(each, self.account) for each in servers}
        for folder in {*sockets, elsewhere, self.path}:
            if folder.exists():
                shutil.rmtree(folder)

    def _make(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = {entry.name for entry in self.path.iterdir()}
        if names and MARKER not in names and names != {LOCK}:
            raise SetupError(
                f"the data folder {self.path} holds files of something else; "
                "give an empty or a new one with --data"
            )
        if self.account.switched:
            # The servers' account passes through, and sees no names.
            self.path.chmod(0o711)

    def _take_lock(self) -> None:
        self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 32).decode().strip()
            self.close()
            raise SetupError(
                f"the data folder {self.path} is in use by another `mercenary up`"
                f"{f' (process {holder})' if holder else ''}; stop that one or give another --data"
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())

    def _empty(self) -> None:
        for entry in self.path.iterdir():
            if entry.name in (LOCK, MARKER):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if self._elsewhere().exists():
            shutil.rmtree(self._elsewhere())

    def _place_servers(self) -> None:
        self.moved = not self.account.crosses(self.path)
        if self.moved:
            self.servers = self._elsewhere()
            SHARED_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
            self.servers.mkdir(mode=0o711, exist_ok=True)

    def _refuse_foreign_sockets(self) -> None:
        if not self.sockets.exists():
            return
        facts = self.sockets.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != self.account.uid:
            raise SetupError(f"{self.sockets} belongs to somebody else; remove it")

    def _elsewhere(self) -> Path:
        return SHARED_HOME / _digest(self.path)
