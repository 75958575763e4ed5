"""A private stack on a free port, for tests and benches: `with Stack(workers=2) as stack: …`.

It is a `mercenary up` of its own in a process of its own, so what is tested is what people run; it
ends with the process that holds it, however that ends.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from mercenary.local.account import serving_account
from mercenary.local.children import wait_until
from mercenary.local.folder import DataFolder
from mercenary.local.state import State, read_state
from mercenary.local.supervisor import mercenary_command
from mercenary.settings import GUIDE_NAMES, PREFIX


class StackError(Exception):
    """The stack didn't start or end as it should; the text is what it said."""


class Stack:
    """One stack. Without a `folder` it has a temporary one, which goes with it.

    `environment` holds settings by their environment names; the caller's own settings are not
    handed on. `seed` is a scale or "none". `port` 0 finds a free one. So many `replicas` stand by;
    `synchronous` of them hold each commit before it is acknowledged.
    """

    def __init__(
        self,
        folder: Path | None = None,
        port: int = 0,
        workers: int | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        seed: str = "none",
        replicas: int = 0,
        synchronous: int = 0,
        ready_within: float = 120.0,
        halted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._temporary = folder is None
        self.folder = (folder or temporary_folder()).resolve()
        self._arguments = ["--data", str(self.folder), "--port", str(port), "--seed", seed]
        self._arguments += ["--replicas", str(replicas), "--synchronous", str(synchronous)]
        if workers is not None:
            self._arguments += ["--workers", str(workers)]
        self._environment = {**without_settings(), **(environment or {})}
        self._ready_within = ready_within
        self._halted = halted
        self._process: subprocess.Popen[bytes] | None = None
        self._output = Path(tempfile.mkdtemp(prefix="mercenary-stack-"))

    def start(self) -> Self:
        """Start it and wait until the API is ready.

        Raises `StackError` with what it said, `Halted`; then it is to be stopped.
        """
        with (self._output / "up.log").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                mercenary_command("up", "--tied", *self._arguments),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=self._environment,
                cwd=self._output,  # no mercenary.toml there
                start_new_session=True,
            )
        process = self._process
        wait_until(
            lambda: self._is_ready() or process.poll() is not None,
            self._ready_within,
            self._halted,
        )
        if not self._is_ready():
            self.stop()
            raise StackError(self.said)
        return self

    def stop(self) -> int:
        """Stop it and wait until it has ended; gives its exit code."""
        process = self._process
        if process is None:
            return 0
        if process.stdin is not None:
            process.stdin.close()  # it is tied to this
        code = process.wait(timeout=120)
        self._process = None
        if self._temporary:
            DataFolder(self.folder, serving_account()).remove()
        return code

    @property
    def said(self) -> str:
        """All that it has printed so far."""
        return (self._output / "up.log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        if self._process is None:
            raise StackError("the stack isn't running")
        return self._process.pid

    @property
    def state(self) -> State:
        """What the stack says of itself: its services, their process ids and addresses."""
        state = read_state(self.folder)
        if state is None:
            raise StackError("the stack isn't running")
        return state

    @property
    def url(self) -> str:
        """Where the API is, without a slash at the end."""
        return self.state.url

    @property
    def database_uri(self) -> str:
        """Where its database is."""
        return self.state.database_uri

    @property
    def cache_url(self) -> str:
        """Where its Valkey is."""
        return next(one.address for one in self.state.services if one.name == "valkey")

    def environment(self) -> dict[str, str]:
        """The environment for a command that is to work on this stack."""
        state = self.state
        return {
            **self._environment,
            "SQLALCHEMY_DATABASE_URI": state.database_uri,
            "CACHE_CONFIG": state.cache_config,
            "MERCENARY_DATA": str(self.folder),
        }

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._output)

    def _is_ready(self) -> bool:
        state = read_state(self.folder)
        return state is not None and state.ready and state.supervisor.pid == self.pid


def temporary_folder() -> Path:
    """A new folder whose servers can reach it, whoever they run as."""
    folder = Path(tempfile.mkdtemp(prefix="mercenary-"))
    folder.chmod(0o711)  # root's servers run as somebody else, who passes through
    return folder


def without_settings() -> dict[str, str]:
    """The environment without any setting of the caller's."""
    guide = set(GUIDE_NAMES.values())
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and name not in guide
    }
