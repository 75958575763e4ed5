"""Valkey 9 of one's own, on a private Unix socket, with nothing kept on disk.

The truth lives in PostgreSQL: Valkey may be lost at any moment, so it saves nothing.
"""

from pathlib import Path

import msgspec

from mercenary.local.account import Account, serving_account
from mercenary.local.binaries import valkey_program
from mercenary.local.children import Child
from mercenary.local.folder import socket_folder
from mercenary.local.postgres import MEGABYTE, memory_bytes
from mercenary.local.probe import valkey_answers


class EmbeddedValkey:
    """A server that keeps its socket in `folder`/run and its log in `logs`, `folder` by default."""

    def __init__(
        self, folder: Path, *, logs: Path | None = None, account: Account | None = None
    ) -> None:
        self.folder = folder.resolve() / "valkey"
        self.account = account or serving_account()
        self.sockets = socket_folder(folder.resolve(), self.account)
        self.socket = self.sockets / "valkey.sock"
        memory = min(512, max(64, memory_bytes() // MEGABYTE // 16))
        self.child = Child(
            "valkey",
            [
                str(valkey_program(self.account)),
                *("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
                *("--dir", str(self.folder), "--save", "", "--appendonly", "no"),
                # Only what expires anyway may be pushed out: queues and counters stay.
                *("--maxmemory", f"{memory}mb", "--maxmemory-policy", "volatile-lfu"),
                *("--databases", "16", "--maxclients", "10000"),
            ],
            (logs or folder) / "valkey.log",
            self.answers,
            account=self.account,
        )

    def url(self, database: int = 0) -> str:
        """The address of one of its databases, as redis-py takes it."""
        return f"unix://{self.socket}?db={database}"

    @property
    def cache_config(self) -> str:
        """A value for CACHE_CONFIG with this server in it, and the guide's times."""
        sections = {
            "default": {"CACHE_REDIS_URL": self.url(0), "CACHE_DEFAULT_TIMEOUT": 300},
            "session": {"CACHE_REDIS_URL": self.url(1), "CACHE_DEFAULT_TIMEOUT": 86_400},
        }
        return msgspec.json.encode(sections).decode()

    def spawn(self) -> None:
        """Start it, and don't wait: `child.wait_ready()` does."""
        self.account.own(self.folder)
        self.account.own(self.sockets)
        self.socket.unlink(missing_ok=True)
        self.child.spawn()

    def start(self) -> None:
        """Start it and wait until it answers. Raises `ChildError`."""
        self.spawn()
        self.child.wait_ready()

    def stop(self) -> bool:
        """Stop it. False when it had to be killed."""
        return self.child.stop()

    def answers(self) -> bool:
        """Whether it answers a PING."""
        return valkey_answers(self.url())
