"""Two hosts of one marketplace on one machine: what is shared between hosts is, and nothing else.

Each has its own `mercenary serve` with two workers, its own `mercenary relay` and its own shared
memory. PostgreSQL and Valkey are one each. All but PostgreSQL may be killed by a test.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil  # type: ignore[import-untyped]

from mercenary.local.children import Child, run_once
from mercenary.local.ports import hold_port
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.probe import http_answers
from mercenary.local.stack import without_settings
from mercenary.local.supervisor import mercenary_command
from mercenary.local.valkey import EmbeddedValkey
from tests.generous import GENEROUS
from tests.replicas.servers import running

ROOT: Final = Path(__file__).parents[2]
HOSTS: Final = 2
WORKERS: Final = 2
PRODUCT: Final = "mercenary.app:create_app"


class Host:
    """One host: its API and its relay, ended and started again one by one."""

    def __init__(
        self, number: int, folder: Path, port: int, environment: Mapping[str, str]
    ) -> None:
        self.number = number
        self.port = port
        self.points = folder / f"crash-points-{number}"
        self.points.mkdir()
        self.environment = {
            **environment,
            "MERCENARY_SHARED_MEMORY": str(folder / f"clocks-{number}"),
            "MERCENARY_CRASH_POINTS": str(self.points),
        }
        self._log = folder
        self.relay = self._child("relay", mercenary_command("relay"))

    def _child(self, name: str, command: Sequence[str], port: int | None = None) -> Child:
        return Child(
            f"{name}-{self.number}",
            command,
            self._log / f"{name}-{self.number}.log",
            lambda: port is None or http_answers("127.0.0.1", port),
            environment=self.environment,
        )

    def serve(self, target: str) -> None:
        """Start the API, and don't wait: `api.wait_ready()` does."""
        command = ["serve", "--port", str(self.port), "--workers", str(WORKERS), "--target", target]
        self.api = self._child("api", mercenary_command(*command), self.port)
        self.api.spawn()

    @property
    def workers(self) -> list[int]:
        """The process ids of its workers, oldest first."""
        with suppress(psutil.NoSuchProcess):
            return sorted(
                child.pid
                for child in psutil.Process(self.api.pid).children()
                if child.status() != psutil.STATUS_ZOMBIE
            )
        return []

    @property
    def is_whole(self) -> bool:
        """Whether all of its processes run and it answers."""
        return (
            len(self.workers) == WORKERS
            and self.relay.pid is not None
            and http_answers("127.0.0.1", self.port)
        )


class Hosts:
    """Both hosts and what they share: `with Hosts(folder) as hosts: …`.

    `targets` are the applications of the two, by default the product's. PostgreSQL has as many
    `replicas`, which are a bit behind, as `replica_lag` says (seconds).
    """

    def __init__(
        self,
        folder: Path,
        targets: Sequence[str] = (PRODUCT,) * HOSTS,
        *,
        replicas: int = 0,
        replica_lag: float = 0.1,
    ) -> None:
        self._replicas = replicas
        self._replica_lag = replica_lag
        self.valkey = EmbeddedValkey(folder)
        self.hosts: list[Host] = []
        self._folder = folder
        self._targets = targets
        self._held = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.valkey.spawn()
            self._cluster = self._held.enter_context(running(self._folder, self._replicas))
            self.valkey.child.wait_ready()
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def _start(self) -> None:
        environment = self._environment()
        run_once(mercenary_command("migrate"), environment=environment)
        for number, target in enumerate(self._targets):
            port = self._held.enter_context(hold_port("127.0.0.1", 0))
            host = Host(number, self._folder, port, environment)
            self.hosts.append(host)
            host.serve(target)
            host.relay.spawn()
        for host in self.hosts:
            host.api.wait_ready()
            host.relay.wait_ready()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def database_uri(self) -> str:
        """Where the database is."""
        return self.postgres.uri

    @property
    def postgres(self) -> EmbeddedPostgres:
        """The primary."""
        return self._cluster.primary

    @property
    def replicas(self) -> Sequence[EmbeddedPostgres]:
        """Who follows it."""
        return self._cluster.standbys

    @property
    def is_whole(self) -> bool:
        """Whether nothing is broken any more."""
        servers = [self.valkey.child, *(replica.child for replica in self.replicas)]
        return all(each.pid is not None for each in servers) and all(
            host.is_whole for host in self.hosts
        )

    def _environment(self) -> dict[str, str]:
        return {
            **without_settings(),
            **GENEROUS,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PYTHONUNBUFFERED": "1",
            "SQLALCHEMY_DATABASE_URI": self.postgres.uri,
            # Four workers and two relays on 100 connections.
            "SQLALCHEMY_ENGINE_OPTIONS": '{"pool_size": 8, "max_overflow": 4}',
            "CACHE_CONFIG": self.valkey.cache_config,
            "MERCENARY_REPLICA_URIS": ",".join(replica.uri for replica in self.replicas),
            "MERCENARY_REPLICA_LAG": str(self._replica_lag),
            "MERCENARY_LOG_LEVEL": "warning",
            "MERCENARY_ACCESS_TOKEN_SECONDS": "86400",
        }

    def _stop(self) -> None:
        for host in self.hosts:
            for child in (host.relay, host.api):
                wake(child)
                child.stop()
        wake(self.valkey.child)
        self.valkey.stop()
        self._held.close()


def wake(child: Child) -> None:
    """Let a child go on that was stopped."""
    if child.pid is not None:
        os.kill(child.pid, signal.SIGCONT)
