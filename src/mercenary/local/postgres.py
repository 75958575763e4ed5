"""PostgreSQL 18 of one's own: made on first use, set for real work, on a private Unix socket.

Only the account that runs it (and root) can reach the socket, which is why no password is asked.
"""

import math
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from mercenary.local.account import Account, serving_account
from mercenary.local.binaries import postgres_programs
from mercenary.local.children import Child, ChildError, run_once
from mercenary.local.folder import SPACE_TO_START, full_disk, require_space, socket_folder
from mercenary.local.processes import arguments, end, kill_inside, mark, total_memory
from mercenary.settings import SetupError

DATABASE: Final = "mercenary"
MADE: Final = "mercenary.ready"  # a file that says that the database is there
MEGABYTE: Final = 1 << 20
# Where postmaster.pid says "ready", which pg_ctl reads, too (LOCK_FILE_LINE_PM_STATUS).
STATUS_LINE: Final = 7
# Standbys ask for the log under a name that `all` doesn't cover.
ENTRANCES: Final = "local all all trust\nlocal replication all trust\n"


class EmbeddedPostgres:
    """A cluster in `folder`/postgres, made by the first `start()`, its socket in `folder`/run.

    `connections` is how many it takes at once. The log goes to `logs`, `folder` by default, under
    the server's `name`. `member.EmbeddedMember` may follow one.
    """

    # The same order on every machine, and the fastest comparisons.
    locale: Sequence[str] = (
        *("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
    )

    def __init__(
        self,
        folder: Path,
        *,
        logs: Path | None = None,
        account: Account | None = None,
        connections: int = 100,
        name: str = "postgres",
    ) -> None:
        self.folder = folder.resolve() / "postgres"
        self.account = account or serving_account()
        self.sockets = socket_folder(folder.resolve(), self.account)
        self.connections = connections
        self.programs = postgres_programs(self.account)
        self._changes: dict[str, str] = {}
        self.child = Child(
            name,
            [str(self.programs / "postgres"), "-D", str(self.folder)],
            (logs or folder) / f"{name}.log",
            self.is_ready,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
            account=self.account,
            ready_within=60.0,  # after a crash it replays its log first
            stop_within=30.0,
        )

    @property
    def uri(self) -> str:
        """The address, as SQLAlchemy, asyncpg and psql take it."""
        return f"postgresql://{DATABASE}@/{DATABASE}?host={quote(str(self.sockets))}"

    def start(self) -> None:
        """Make the cluster where it is missing, start it, make the database. Raises `SetupError`,
        `ChildError`."""
        self.account.own(self.sockets)
        if not (self.folder / "PG_VERSION").exists():
            self._make_cluster()
        self.configure()
        self._drop_stale_locks()
        self.child.start()
        if not (self.folder / MADE).exists():
            self._make_database()

    def stop(self) -> bool:
        """Stop it. False when it had to be killed; its log then heals it on the next start."""
        return self.child.stop()

    def is_ready(self) -> bool:
        """Whether the server says of itself that it takes connections."""
        return says_ready(self.folder, self.child.pid)

    def running_pid(self) -> int | None:
        """The process id of a server that runs on this cluster, whoever started it."""
        lines = _lock_lines(self.folder)
        if not lines or not lines[0].strip().isdigit():
            return None
        pid = int(lines[0])
        return pid if str(self.folder) in arguments(pid) else None

    def end_left_over(self) -> None:
        """End a server that an earlier run has left on this cluster."""
        pid = self.running_pid()
        marked = mark(pid) if pid is not None else None
        if marked is not None:
            end(marked, self.child.stop_signal, self.child.stop_within)

    def is_empty(self, table: str) -> bool:
        """Whether a table has no rows. It takes milliseconds, where a program of ours takes a
        second to start."""
        return self.run_sql(f"SELECT EXISTS (SELECT FROM {table})") == "f"  # noqa: S608

    def run_sql(self, statement: str, database: str = DATABASE) -> str:
        """Run one statement by psql, and return its rows as plain text. Raises `ChildError`."""
        address = f"postgresql://{DATABASE}@/{database}?host={quote(str(self.sockets))}"
        command = [str(self.programs / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", address]
        return run_once([*command, "-c", statement], account=self.account).strip()

    def position(self) -> int:
        """How much of the log a standby has on its disk, in bytes. Raises `ChildError`."""
        received = "coalesce(pg_last_wal_receive_lsn(), '0/0')"
        replayed = "coalesce(pg_last_wal_replay_lsn(), '0/0')"
        return int(self.run_sql(f"SELECT greatest({received}, {replayed}) - '0/0'::pg_lsn"))

    def promote(self) -> None:
        """Make a standby a primary. Raises `ChildError` when it isn't within 20 seconds."""
        statement = "SELECT NOT pg_is_in_recovery() OR pg_promote(true, 20)"
        if self.run_sql(statement) != "t":
            raise ChildError(f"{self.child.name} wasn't promoted within 20 s", self.child.tail())

    def slots(self) -> dict[str, str]:
        """The replication slots, and how it stands with the log that each needs: `wal_status`."""
        rows = self.run_sql("SELECT slot_name, wal_status FROM pg_replication_slots").split()
        return dict(row.split("|") for row in rows)

    def reserve_slot(self, name: str) -> None:
        """Make a slot that keeps the log from this moment on; anew where there is one."""
        self.drop_slot(name)
        self.run_sql(f"SELECT pg_create_physical_replication_slot('{name}', true)")

    def drop_slot(self, name: str) -> None:
        """Drop a slot if it is there. Its standby must have stopped."""
        self.run_sql(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "  # noqa: S608
            f"WHERE slot_name = '{name}'"
        )

    def flush_log(self) -> None:
        """Have standbys get what was inserted, which on an idle server nobody flushes for seconds.

        Raises `ChildError`.
        """
        self.run_sql("SELECT pg_log_standby_snapshot()")

    def followers(self) -> list[str]:
        """The names of those that take its log and have caught up with it. Raises `ChildError`."""
        return self.run_sql(
            "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'"
        ).split()

    def is_receiving(self) -> bool:
        """Whether a standby is connected to whom it follows. Raises `ChildError`."""
        receiving = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
        return self.run_sql(receiving) != "0"

    def _make_cluster(self) -> None:
        require_space(self.folder.parent, SPACE_TO_START)
        if self.folder.exists():
            shutil.rmtree(self.folder)  # a first start that was cut off
        making = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.folder.parent))
        self.account.own(making)
        command = [
            str(self.programs / "initdb"),
            *("-D", str(making), "--username", DATABASE, "--auth", "trust", "--encoding", "UTF8"),
            *self.locale,
        ]
        try:
            run_once(command, account=self.account, halted=self.child.halted)
            making.rename(self.folder)  # whole or not at all
        except ChildError as error:
            if "No space left" in error.output:
                raise SetupError(full_disk(self.folder)) from error
            raise
        finally:
            if making.exists():
                shutil.rmtree(making)

    def _make_database(self) -> None:
        there = f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"  # noqa: S608
        if not self.run_sql(there, "postgres"):
            self.run_sql(f"CREATE DATABASE {DATABASE}", "postgres")
        self.run_sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        (self.folder / MADE).touch()

    def change(self, options: Mapping[str, str]) -> None:
        """Change options of the server that runs; they stay through its restarts."""
        self._changes.update(options)
        self.configure()
        self.run_sql("SELECT pg_reload_conf()")

    def configure(self) -> None:
        """Write what the server reads at its start: its options, and who may come in."""
        options = {**self._options(), **self._changes}
        lines = [f"{name} = '{value}'" for name, value in options.items()]
        (self.folder / "postgresql.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "pg_hba.conf").write_text(ENTRANCES)

    def _options(self) -> dict[str, str]:
        memory = memory_bytes() // MEGABYTE
        return {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets).replace("'", "''"),
            "unix_socket_permissions": "0700",
            "max_connections": str(self.connections),
            # A quarter of the memory is PostgreSQL's own advice; more than 1 GB helps no demo.
            "shared_buffers": f"{min(1024, max(64, memory // 4))}MB",
            "effective_cache_size": f"{max(128, memory // 2)}MB",
            "maintenance_work_mem": "128MB",
            "work_mem": "8MB",
            # What was answered stays: the figures are measured with these on.
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            # This build knows pglz only, which costs more than the disk does: with it, seeding
            # 100,000 projects took 17.7 to 18.5 s, without it 13.0 to 15.0.
            "wal_compression": "off",
            "wal_buffers": "16MB",
            "max_wal_size": "1GB",
            # What the slot of a dead standby keeps at most; one that is further behind is copied.
            "max_slot_wal_keep_size": "2GB",
            "checkpoint_timeout": "15min",
            "random_page_cost": "1.1",
            # Statements here are short: compiling them costs more than it saves.
            "jit": "off",
            "autovacuum_naptime": "15s",
            "autovacuum_vacuum_scale_factor": "0.05",
            "autovacuum_analyze_scale_factor": "0.02",
            "idle_in_transaction_session_timeout": "60s",
            "shared_preload_libraries": "pg_stat_statements",
            "track_io_timing": "on",
            "log_min_duration_statement": "250ms",
            "log_lock_waits": "on",
            # Without the values that statements were given: addresses, and hashes of passwords.
            "log_error_verbosity": "terse",
            "log_parameter_max_length": "0",
            "log_line_prefix": "%m [%p] %a ",
            "log_timezone": "UTC",
            "timezone": "UTC",
        }

    def _drop_stale_locks(self) -> None:
        """After a crash the locks may name a process that nobody has collected yet, or one that is
        by now somebody else's; PostgreSQL takes both for a server that runs."""
        if self.running_pid() is None:
            kill_inside(self.folder)
            (self.folder / "postmaster.pid").unlink(missing_ok=True)
            (self.sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def says_ready(cluster: Path, pid: int | None) -> bool:
    """Whether the server of this process id says that it takes connections to a cluster."""
    lines = _lock_lines(cluster)
    return (
        len(lines) > STATUS_LINE
        and lines[0].strip() == str(pid)
        and lines[STATUS_LINE].strip() == "ready"
    )


def _lock_lines(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def memory_bytes() -> int:
    """The memory that this process may use: the machine's, or its control group's where less."""
    bounds = [float(total_memory())]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(file)
        if path.exists():
            text = path.read_text().strip()
            bounds.append(math.inf if text == "max" else float(text))
    return int(min(bounds))
