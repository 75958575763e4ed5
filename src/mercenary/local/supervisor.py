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
from mercenary.local.ports import hold_port
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.probe import (
    bracketed,
    http_answers,
    postgres_answers,
    reachable_host,
    valkey_answers,
)
from mercenary.local.processes import Mark, end, mark
from mercenary.local.replication import address_of_all, refuse_impossible, start_standbys
from mercenary.local.standby import EmbeddedStandby
from mercenary.local.state import Service, State, read_state
from mercenary.local.valkey import EmbeddedValkey
from mercenary.settings import CacheConfig, Loaded, SetupError, masked

TICK: Final = 0.1  # seconds between two looks at the children
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
RAN_WELL: Final = 60.0  # seconds after which a child's next death is a first one again
DEMO: Final = "demo"  # a file that says that the database was given the demo accounts
# Beside the workers' pools: migrations, seeding, psql, a person.
SPARE_CONNECTIONS: Final = 40


@dataclass
class Watched:
    """A child and when it is to be started again, if it is down."""

    child: Child
    service: Service
    start: Callable[[], None]
    pause: float = FIRST_PAUSE
    again_at: float | None = None


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
    _postgres: EmbeddedPostgres | None = field(default=None, init=False)
    _standbys: list[EmbeddedStandby] = field(default_factory=list, init=False)
    _watched: list[Watched] = field(default_factory=list, init=False)
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
        try:
            self._start()
            self.ready(self)
            while not self._halted():
                self._look_after_children()
                time.sleep(TICK)
        except Halted:
            pass
        except ChildError as error:
            raise SetupError(self._explained(error)) from error
        finally:
            self._stop()

    # Starting

    def _start(self) -> None:
        settings, sources = self.loaded.settings, self.loaded.sources
        own_database = settings.sqlalchemy_database_uri
        own_cache = sources["cache_config"] != "default"
        refuse_impossible(settings.replicas, settings.synchronous_replicas, own_database)
        database_uri, cache_config = own_database or "", _as_json(settings.cache_config)
        now = time.time()
        me = mark(os.getpid()) or Mark(os.getpid(), now)
        self.state = State(
            supervisor=me, started=now, url=self.url, database_uri="", cache_config=cache_config
        )
        if own_cache:
            self._use_yours("valkey", settings.cache_config.default.cache_redis_url, valkey_answers)
        else:
            valkey = EmbeddedValkey(
                self.folder.servers, logs=self.folder.logs, account=self.folder.account
            )
            valkey.spawn()  # it is up long before PostgreSQL
            self._watch(valkey.child, valkey.url(), valkey.start)
            self.state.cache_config = cache_config = valkey.cache_config
        if own_database is not None:
            self._use_yours("postgres", own_database, postgres_answers)
        else:
            database_uri = self._start_postgres()
        self.state.database_uri = database_uri
        if not own_cache:
            self._watched[0].child.wait_ready()
        # The API loads meanwhile; it is ready once the schema is, and announced after the data.
        api = self._spawn_api()
        self._command("migrate")
        self._seed()
        api.wait_ready()
        self._spawn_beside("relay", "relay")
        self._spawn_beside("cleaner", "clean", "--every", f"{self.loaded.settings.clean_every:g}")
        self.state.ready = True
        self._note()

    def _start_postgres(self) -> str:
        settings = self.loaded.settings
        options = settings.sqlalchemy_engine_options
        pools = settings.workers * (options.pool_size + options.max_overflow)
        postgres = EmbeddedPostgres(
            self.folder.servers,
            logs=self.folder.logs,
            account=self.folder.account,
            connections=pools + SPARE_CONNECTIONS,
        )
        self._watch_postgres(postgres)
        postgres.start()
        self._note()
        self._standbys = start_standbys(
            postgres,
            self.folder.servers,
            settings.replicas,
            synchronous=settings.synchronous_replicas,
            logs=self.folder.logs,
            watch=self._watch_postgres,
        )
        self._note()
        self._postgres = postgres
        return address_of_all([postgres, *self._standbys])

    def _watch_postgres(self, server: EmbeddedPostgres) -> None:
        left = server.running_pid()
        marked = mark(left) if left is not None else None
        if marked is not None:
            end(marked, signal.SIGINT, 30.0)
        self._watch(server.child, server.uri, server.start)

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
        self._watch(child, self.url, child.start)
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
        self._watch(child, "", child.start)

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
        if not self._standbys:
            return {}
        return {"MERCENARY_REPLICA_URIS": ",".join(each.uri for each in self._standbys)}

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

    def _watch(self, child: Child, address: str, start: Callable[[], None]) -> None:
        child.halted = self._halted
        service = Service(name=child.name, address=address)
        self.state.services.append(service)
        self._watched.append(Watched(child, service, start))
        self._note()

    def _end_orphans(self) -> None:
        previous = read_state(self.folder.path)
        left = previous.stop_orphans() if previous is not None else []
        if left:
            self.say(f"Stopped what an earlier run had left: {', '.join(left)}")

    # Watching

    def _look_after_children(self) -> None:
        for watched in self._watched:
            if watched.again_at is None:
                if watched.child.pid is None:
                    self._plan_restart(watched, watched.child.ending)
            elif time.monotonic() >= watched.again_at:
                self._restart(watched)

    def _plan_restart(self, watched: Watched, why: str) -> None:
        child = watched.child
        if child.ran >= RAN_WELL:
            watched.pause = FIRST_PAUSE
        child.stop()  # what its group has left behind
        self.say(
            f"{child.name} {why}; starting it again in {watched.pause:g} s (its log: {child.log})"
        )
        watched.again_at = time.monotonic() + watched.pause
        watched.pause = min(watched.pause * 2, LONGEST_PAUSE)
        self._note()

    def _restart(self, watched: Watched) -> None:
        watched.again_at = None
        watched.service.restarts += 1
        try:
            watched.start()
        except ChildError as error:
            self._plan_restart(watched, str(error).removeprefix(f"{watched.child.name} "))
        else:
            self._note()
            self.say(f"{watched.child.name} runs again")

    def _note(self) -> None:
        """Write down who runs."""
        for watched in self._watched:
            pid = watched.child.pid
            if pid is None:
                watched.service.mark = None
            elif watched.service.mark is None or watched.service.mark.pid != pid:
                watched.service.mark = mark(pid)
                watched.service.started = time.time()
        try:
            self.state.write(self.folder.state)
        except OSError as error:
            if not self.state.ready:
                raise
            # What runs, runs on, even when the disk is full.
            self.say(f"can't write {self.folder.state}: {error.strerror}")

    # Stopping

    def _stop(self) -> None:
        asked = self._signals
        for watched in reversed(self._watched):
            # A second Ctrl-C ends the wait.
            if not watched.child.stop(lambda: self._signals > max(asked, 1)):
                self.say(f"{watched.child.name} didn't end in time and was killed")
        with contextlib.suppress(FileNotFoundError):
            self.folder.state.unlink()

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
