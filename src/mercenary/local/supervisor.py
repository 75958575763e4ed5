"""Everything on one machine: started in order, watched, restarted, stopped in order.

`Supervisor.run` is what `mercenary up` does. One thread and one loop: a child dies with the thread
that made it, and a poll costs nothing beside the servers. For a private stack see `stack.Stack`.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from mercenary.local.account import serving_account
from mercenary.local.children import Child, ChildError, Halted, run_once
from mercenary.local.folder import DataFolder, full_disk, plain_faults
from mercenary.local.member import EmbeddedMember
from mercenary.local.ports import hold_port
from mercenary.local.probe import (
    bracketed,
    http_answers,
    postgres_answers,
    reachable_host,
    valkey_answers,
)
from mercenary.local.processes import Mark, mark
from mercenary.local.replication import Cluster, refuse_impossible
from mercenary.local.state import Service, State, read_state, take_request
from mercenary.local.valkey import EmbeddedValkey
from mercenary.local.watch import Watch, Watched
from mercenary.settings import CacheConfig, Loaded, SetupError, masked

TICK: Final = 0.1  # seconds between two looks at the children
DEMO: Final = "demo"  # a file that says that the database was given the demo accounts
# Beside the workers' pools: migrations, seeding, psql, a person.
SPARE_CONNECTIONS: Final = 40


@dataclass
class Supervisor:
    """One stack on one data folder.

    `seed` is a scale, "none", or None: the demo's scale on an empty embedded database. `say` gets
    a line for people, `ready` is called once all runs. `tied` ends the stack with standard input.
    """

    loaded: Loaded
    say: Callable[[str], None]
    ready: Callable[["Supervisor"], None] = lambda _: None
    seed: str | None = None
    fresh: bool = False
    tied: bool = False
    port: int = field(default=0, init=False)
    state: State = field(init=False)
    folder: DataFolder = field(init=False)
    _postgres: EmbeddedMember | None = field(default=None, init=False)
    _cluster: Cluster | None = field(default=None, init=False)
    _watch: Watch = field(init=False)
    _signals: int = field(default=0, init=False)

    def run(self) -> None:
        """Start, watch until a signal comes, stop. Raises `SetupError` when it can't start."""
        settings = self.loaded.settings
        self.folder = DataFolder(settings.data, serving_account())
        with self._listening_to_signals():
            self.folder.open()
            try:
                with plain_faults(self.folder.path):
                    self._end_orphans()
                    with hold_port(settings.host, settings.port) as port:
                        self.port = port
                        self.folder.prepare(fresh=self.fresh)
                        self._run()
            finally:
                self.folder.close()

    @property
    def url(self) -> str:
        """Where the API is."""
        host = reachable_host(self.loaded.settings.host)
        return f"http://{bracketed(host)}:{self.port}"

    @property
    def own_database_uri(self) -> str | None:
        """Where the embedded database is, if it has been started."""
        return None if self._postgres is None else self.state.database_uri

    @property
    def has_demo(self) -> bool:
        """Whether this folder's database was given the demo accounts."""
        return (self.folder.path / DEMO).exists()

    def _run(self) -> None:
        self.state = self._first_state()
        self._watch = Watch(self.state, self.folder.state, self.say)
        try:
            self._start()
            self.ready(self)
            while not self._halted():
                self._obey()
                for fallen in self._watch.look():
                    self._replace(fallen)
                time.sleep(TICK)
        except Halted:
            pass
        except ChildError as error:
            raise SetupError(self._explained(error)) from error
        finally:
            asked = self._signals
            self._watch.stop(lambda: self._signals > max(asked, 1))  # a second Ctrl-C

    # Starting

    def _first_state(self) -> State:
        now = time.time()
        return State(
            supervisor=mark(os.getpid()) or Mark(os.getpid(), now),
            started=now,
            url=self.url,
            database_uri="",
            cache_config=_as_json(self.loaded.settings.cache_config),
        )

    def _start(self) -> None:
        settings, sources = self.loaded.settings, self.loaded.sources
        own_database = settings.sqlalchemy_database_uri
        own_cache = sources["cache_config"] != "default"
        refuse_impossible(settings.replicas, settings.synchronous_replicas, own_database)
        valkey: EmbeddedValkey | None = None
        if own_cache:
            self._use_yours("valkey", settings.cache_config.default.cache_redis_url, valkey_answers)
        else:
            valkey = EmbeddedValkey(
                self.folder.servers, logs=self.folder.logs, account=self.folder.account
            )
            valkey.spawn()  # it is up long before PostgreSQL
            self._look_after(valkey.child, valkey.url(), valkey.start)
            self.state.cache_config = valkey.cache_config
        if own_database is not None:
            self._use_yours("postgres", own_database, postgres_answers)
        self.state.database_uri = own_database or self._start_postgres()
        if valkey is not None:
            valkey.child.wait_ready()
        # The API loads meanwhile; it is ready once the schema is, and announced after the data.
        api = self._spawn_api()
        self._command("migrate")
        self._seed()
        api.wait_ready()
        self._spawn_beside("relay", "relay")
        self._spawn_beside("cleaner", "clean", "--every", f"{self.loaded.settings.clean_every:g}")
        self.state.ready = True
        self._watch.note()

    def _start_postgres(self) -> str:
        settings = self.loaded.settings
        options = settings.sqlalchemy_engine_options
        pools = settings.workers * (options.pool_size + options.max_overflow)
        cluster = Cluster(
            self.folder.servers,
            settings.replicas,
            settings.synchronous_replicas,
            logs=self.folder.logs,
            account=self.folder.account,
            connections=pools + SPARE_CONNECTIONS,
        )
        self._watch_postgres(cluster.primary)
        cluster.start_primary()
        self._watch.note()
        cluster.start_standbys(self._watch_postgres)
        self._cluster, self._postgres = cluster, cluster.primary
        self.state.primary = cluster.primary.name
        self._watch.note()
        return cluster.uri

    def _watch_postgres(self, server: EmbeddedMember) -> None:
        server.end_left_over()
        self._look_after(server.child, server.uri, server.restart)

    def _seed(self) -> None:
        production = self.loaded.settings.environment == "production"
        seed = self.seed
        if seed is None:
            # A server of the caller's gets no demo accounts unless they are asked for.
            seed = "none" if production or self._postgres is None else "1k"
        if seed == "none" or (self._postgres is not None and not self._postgres.is_empty("users")):
            return  # `seed` itself refuses rows in a server of the caller's
        self.say(f"Seeding the demo data: {seed} projects …")
        self._command("seed", "--scale", seed, *([] if production else ["--demo"]))
        if not production:
            (self.folder.path / DEMO).touch()

    def _spawn_api(self) -> Child:
        settings = self.loaded.settings
        host, port = reachable_host(settings.host), self.port
        child = Child(
            "api",
            mercenary_command("serve"),
            self.folder.logs / "api.log",
            lambda: http_answers(host, port),
            environment=self.environment(),
            stop_within=settings.drain_seconds + 5.0,
        )
        child.spawn()
        self._look_after(child, self.url, child.start)
        return child

    def _spawn_beside(self, name: str, *arguments: str) -> None:
        # Nobody waits for it, so it loads when the API has.
        child = Child(
            name,
            mercenary_command(*arguments),
            self.folder.logs / f"{name}.log",
            lambda: True,
            environment=self.environment(),
        )
        child.spawn()
        self._look_after(child, "", child.start)

    def environment(self) -> Mapping[str, str]:
        """What children find in their environment: the caller's, and where our servers are."""
        settings = self.loaded.settings
        return {
            **os.environ,
            "SQLALCHEMY_DATABASE_URI": self.state.database_uri,
            **self._replica_environment(),
            "CACHE_CONFIG": self.state.cache_config,
            "MERCENARY_HOST": settings.host,
            "MERCENARY_PORT": str(self.port),
            "MERCENARY_WORKERS": str(settings.workers),
            "MERCENARY_DATA": str(self.folder.path),
            "PYTHONUNBUFFERED": "1",
        }

    def _replica_environment(self) -> Mapping[str, str]:
        # All of them: whoever is the primary takes no part as a replica until it is one again.
        if self._cluster is None or not self._cluster.standbys:
            return {}
        return {"MERCENARY_REPLICA_URIS": ",".join(each.uri for each in self._cluster.members)}

    def _command(self, *arguments: str) -> None:
        run_once(
            mercenary_command(*arguments),
            name=f"mercenary {arguments[0]}",
            environment=self.environment(),
            halted=self._halted,
        )

    def _use_yours(self, name: str, address: str, answers: Callable[[str], bool]) -> None:
        shown = masked(name, address)
        if not answers(address):
            raise SetupError(
                f"nothing answers at {shown} (your {name}); start it, or unset "
                f"{'CACHE_CONFIG' if name == 'valkey' else 'SQLALCHEMY_DATABASE_URI'} to use ours"
            )
        self.say(f"Using your {name} at {shown}")
        self.state.services.append(Service(name=name, address=address, mine=True))

    def _look_after(self, child: Child, address: str, start: Callable[[], None]) -> None:
        child.halted = self._halted
        self._watch.add(child, address, start)

    def _end_orphans(self) -> None:
        previous = read_state(self.folder.path)
        left = previous.stop_orphans() if previous is not None else []
        if left:
            self.say(f"Stopped what an earlier run had left: {', '.join(left)}")

    # Watching

    def _replace(self, fallen: Watched) -> None:
        """Have a standby stand in for the primary where that is sooner, and loses nothing."""
        cluster = self._cluster
        if cluster is None or not cluster.standbys or fallen.child is not cluster.primary.child:
            return
        if fallen.failed or cluster.can_spare_primary:
            self._promote(cluster, failed=fallen.failed)

    def _obey(self) -> None:
        """Do what `mercenary db promote` asks for."""
        name = take_request(self.folder.path)
        if name is not None and self._cluster is not None:
            self._promote(self._cluster, name or None)
            self._watch.restart(self._cluster.primary.child)

    def _promote(self, cluster: Cluster, name: str | None = None, *, failed: bool = False) -> None:
        """Put a standby in the primary's place, or say why it stays."""
        former, refusal = cluster.primary, ""
        try:
            chosen = cluster.promote(name, failed=failed)
        except ChildError as error:
            refusal = str(error)
            self.say(f"{error}; {cluster.primary.name} stays the primary")
        else:
            self.say(f"{chosen.name} is the primary now; {former.name} comes back as its standby")
        self.state.primary, self.state.refusal = cluster.primary.name, refusal
        self.state.promotions += 1
        self._watch.note()

    # Signals

    @contextlib.contextmanager
    def _listening_to_signals(self) -> Iterator[None]:
        def count(_number: int, _frame: object) -> None:
            self._signals += 1

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, count) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _halted(self) -> bool:
        if self._signals == 0 and self.tied and _input_ended():
            self._signals = 1
        return self._signals > 0

    def _explained(self, error: ChildError) -> str:
        if "No space left" in error.output:
            return full_disk(self.folder.path)
        return f"{error}: {error.reason}; logs are in {self.folder.logs}"


def mercenary_command(*arguments: str) -> list[str]:
    """How to call `mercenary` by this interpreter, whatever lies in the current folder."""
    return [sys.executable, "-P", "-m", "mercenary", *arguments]


def _as_json(config: CacheConfig) -> str:
    return msgspec.json.encode(config).decode()


def _input_ended() -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(readable) and not os.read(sys.stdin.fileno(), 4096)
