"""What a running stack says about itself, in its data folder's state.json.

The supervisor writes it, `mercenary status` reads it, a later supervisor finds orphans by it, and
commands that need the embedded servers find them by `effective`.
"""

import os
import signal
from pathlib import Path
from typing import Final

import msgspec

from mercenary.local.probe import http_answers, postgres_answers, valkey_answers
from mercenary.local.processes import Mark, alive, end
from mercenary.settings import CacheConfig, Loaded, Settings, SetupError

NAME: Final = "state.json"
REQUEST: Final = "promote"
PRIMARY: Final = "primary"
STANDBY: Final = "standby"
ORPHAN_WITHIN: Final = 30.0


class Service(msgspec.Struct, kw_only=True):
    """One part of a stack. `mark` is None while it is down, and for a server of the caller's."""

    name: str
    address: str
    mine: bool = False
    mark: Mark | None = None
    started: float = 0.0
    restarts: int = 0

    @property
    def runs(self) -> bool:
        """Whether the process is there; a server of the caller's is taken to be."""
        return self.mine or (self.mark is not None and alive(self.mark))

    @property
    def is_postgres(self) -> bool:
        """Whether it is a primary or a standby."""
        return self.address.startswith("postgres")

    def answers(self) -> bool:
        """Ask it. A server that is gone or hangs doesn't answer within 2 seconds.

        What has no address can't be asked, and is taken to be well while it runs.
        """
        if not self.runs or not self.address:
            return self.runs
        if self.is_postgres:
            return postgres_answers(self.address)
        if self.name == "valkey":
            return valkey_answers(self.address)
        host, _, port = self.address.removeprefix("http://").rpartition(":")
        return http_answers(host.strip("[]"), int(port))


class State(msgspec.Struct, kw_only=True):
    """A stack. Times are seconds since the epoch; `ready` says that the API has answered once.

    `primary` names the embedded server that takes writes; the address finds it by itself.
    `promotions` is how often another one was to take its place, and `refusal` why the last time
    none did.
    """

    supervisor: Mark
    started: float
    url: str
    database_uri: str
    cache_config: str
    primary: str = "postgres"
    promotions: int = 0
    refusal: str = ""
    ready: bool = False
    services: list[Service] = []

    @property
    def runs(self) -> bool:
        """Whether its supervisor is there."""
        return alive(self.supervisor)

    def role(self, service: Service) -> str:
        """`primary` or `standby` for the embedded PostgreSQL servers, nothing for others."""
        if service.mine or not service.is_postgres:
            return ""
        return PRIMARY if service.name == self.primary else STANDBY

    def write(self, file: Path) -> None:
        """Replace the file as a whole. It may hold a password, so it is its owner's alone."""
        making = file.with_suffix(".new")
        handle = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(self), indent=2))
        making.replace(file)

    def stop_orphans(self) -> list[str]:
        """End what a killed supervisor has left running, the API first. The names of those."""
        left = [service for service in reversed(self.services) if service.mark and service.runs]
        for service in left:
            if service.mark is not None:
                number = signal.SIGINT if service.is_postgres else signal.SIGTERM
                end(service.mark, number, ORPHAN_WITHIN)
        return [service.name for service in left]


def read_state(folder: Path) -> State | None:
    """The state in a data folder; None when there is none that can be read."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=State)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    except PermissionError as error:
        raise SetupError(
            f"{folder / NAME} belongs to somebody else; call as the user of `mercenary up`"
        ) from error


def request_promotion(folder: Path, name: str) -> None:
    """Ask the supervisor of a data folder for another primary; an empty name is any."""
    making = folder / f"{REQUEST}.new"
    making.write_text(name)
    making.replace(folder / REQUEST)


def take_request(folder: Path) -> str | None:
    """The name that was asked for since the last look, None when none was."""
    file = folder / REQUEST
    try:
        name = file.read_text()
    except FileNotFoundError:
        return None
    file.unlink()
    return name.strip()


def effective(loaded: Loaded) -> Settings:
    """The settings with the running stack's servers where no setting names others.

    For commands beside a running `mercenary up` (seed, migrate, bench). Raises `SetupError` when
    no setting names a database and no stack runs on the data folder.
    """
    settings = loaded.settings
    state = read_state(settings.data)
    running = state is not None and state.runs
    if settings.sqlalchemy_database_uri is None:
        if state is None or not running:
            raise SetupError(
                f"no database: nothing runs on {settings.data.resolve()}; start `mercenary up`, "
                "or name yours in SQLALCHEMY_DATABASE_URI"
            )
        settings = msgspec.structs.replace(settings, sqlalchemy_database_uri=state.database_uri)
    if state is not None and running and loaded.sources["cache_config"] == "default":
        cache = msgspec.json.decode(state.cache_config, type=CacheConfig)
        settings = msgspec.structs.replace(settings, cache_config=cache)
    return settings
