"""A primary that replicas may follow, and they."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import psutil  # type: ignore[import-untyped]
from sqlalchemy import make_url

from mercenary.local.children import run_once, wait_until
from mercenary.local.postgres import EmbeddedPostgres


class Server(EmbeddedPostgres):
    """A primary, or once it follows one, a replica."""

    def let_replicas_follow(self) -> None:
        """Accept whoever asks for the log."""
        trusted = "local all all trust\nlocal replication all trust\n"
        (self.folder / "pg_hba.conf").write_text(trusted)
        self.run_sql("SELECT pg_reload_conf()")

    def follow(self, primary: EmbeddedPostgres) -> None:
        """Copy the primary, and start as its replica."""
        command = [
            str(self.programs / "pg_basebackup"),
            *("-h", str(primary.sockets), "-U", "mercenary", "-D", str(self.folder)),
            *("--write-recovery-conf", "--checkpoint", "fast"),
        ]
        self.account.own(self.folder.parent)
        run_once(command, account=self.account)
        self.start()

    @property
    def processes(self) -> list[int]:
        """The ids of all its processes."""
        first = psutil.Process(self.child.pid)
        return [each.pid for each in (first, *first.children(recursive=True))]

    def kill(self) -> None:
        """End it as a power cut would."""
        for each in self.processes:
            os.kill(each, signal.SIGKILL)
        wait_until(lambda: self.child.pid is None, 20.0)

    def address(self, database: str) -> str:
        """Where one of its databases is."""
        return make_url(self.uri).set(database=database).render_as_string(hide_password=False)


@asynccontextmanager
async def paused(uri: str) -> AsyncIterator[None]:
    """A replica that replays nothing within the block."""
    connection = await asyncpg.connect(uri)
    try:
        await connection.execute("SELECT pg_wal_replay_pause()")
        while not await connection.fetchval("SELECT pg_get_wal_replay_pause_state() = 'paused'"):
            pass  # what replays has still to notice
        yield
    finally:
        await connection.execute("SELECT pg_wal_replay_resume()")
        await connection.close()
