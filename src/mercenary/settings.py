"""Every setting, typed and read once.

Call `get()` where a process needs its settings and `load()` where it matters where each came from
(`mercenary settings`, `mercenary up`). The environment wins over `mercenary.toml`, which wins over
the defaults below. The environment's name is `MERCENARY_` and the field's name in capitals; the
performance guide's own names (`SQLALCHEMY_DATABASE_URI` …) come without the prefix.
"""

import difflib
import functools
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_origin

import msgspec
from msgspec import Meta

from mercenary.cdn_settings import SECRETS, incomplete
from mercenary.database_settings import DatabaseSettings
from mercenary.setting_types import Count, Seconds, WholeSeconds

PREFIX: Final = "MERCENARY_"
FILE: Final = Path("mercenary.toml")
# Known to everybody who can read this, so that development needs no set-up; production refuses it.
DEVELOPMENT_SECRET: Final = "mercenary-development-secret-known-to-everybody"  # noqa: S105
SECRET_LENGTH: Final = 32
# Stands for the peer of a Unix socket, which has no address.
UNIX_SOCKET: Final = "unix"
# The guide's own names, which come without the prefix.
GUIDE_NAMES: Final = {
    "sqlalchemy_database_uri": "SQLALCHEMY_DATABASE_URI",
    "sqlalchemy_engine_options": "SQLALCHEMY_ENGINE_OPTIONS",
    "cache_config": "CACHE_CONFIG",
    "celery_broker_url": "CELERY_BROKER_URL",
}

# As browsers send it (RFC 6454, section 6.2), so that comparing bytes is comparing origins.
_ORIGIN = re.compile(
    r"(?!http://.*:80\Z|https://.*:443\Z)"
    r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?"
)

Port = Annotated[int, Meta(ge=0, le=65535)]
Text = Annotated[str, Meta(min_length=1, max_length=4096)]
RedisURL = Annotated[str, Meta(pattern=r"^(rediss?|valkeys?|unix)://")]
BrokerURL = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+]*://")]


class CacheSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="upper"):
    """One cache in the guide's terms, names in capitals outside. The timeout is seconds."""

    cache_type: Literal["RedisCache"] = "RedisCache"
    cache_redis_url: RedisURL = "redis://localhost:6379/0"
    cache_default_timeout: WholeSeconds = 300


class SessionSection(CacheSection, frozen=True, forbid_unknown_fields=True, rename="upper"):
    """The cache of sessions: a database of its own, and a day."""

    cache_redis_url: RedisURL = "redis://localhost:6379/1"
    cache_default_timeout: WholeSeconds = 86_400


class CacheConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where Valkey is. `Loaded.sources["cache_config"]` tells whether anybody said so."""

    default: CacheSection = CacheSection()
    session: SessionSection = SessionSection()


def cores() -> int:
    """How many cores this process may use, at least one."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


class Settings(DatabaseSettings, frozen=True, kw_only=True):
    """The effective settings. Times are seconds, sizes bytes, unless the name says otherwise."""

    environment: Literal["development", "production"] = "development"
    # Token and cursor keys are derived from it.
    secret_key: Text = DEVELOPMENT_SECRET

    cache_config: CacheConfig = CacheConfig()
    celery_broker_url: BrokerURL | None = None

    host: Text = "127.0.0.1"
    port: Port = 8000
    workers: Annotated[int, Meta(ge=1, le=512)] = msgspec.field(default_factory=cores)
    # How many connections each worker holds; more wait in the kernel's queue.
    connections_per_worker: Annotated[int, Meta(ge=16, le=1_000_000)] = 8192
    # From the end of one request to the end of the next one's head: how long a connection may be
    # idle, and how slowly a head may come. A proxy in front must let go of idle ones earlier.
    idle_seconds: Annotated[int, Meta(ge=1, le=3600)] = 30
    # Networks whose `Forwarded` and `X-Forwarded-…` are believed, such as 10.0.0.0/8, and `unix`
    # for whoever comes through a Unix socket. In the environment with commas between them.
    trusted_proxies: tuple[Text, ...] = ()
    data: Path = Path(".mercenary")
    drain_seconds: Annotated[int, Meta(ge=1, le=3600)] = 10
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    request_deadline: Seconds = 10.0
    # Requests in flight in a worker: the limit begins at `start` and moves between the others.
    in_flight_least: Count = 64
    in_flight_start: Count = 128
    in_flight_most: Count = 2048

    # Requests in each window: a guest's by address, a user's, and beside these the sensitive ones
    # of either (sign-in, passwords, accepting a proposal).
    guest_limit: Count = 1000
    guest_window: WholeSeconds = 3600
    user_limit: Count = 10_000
    user_window: WholeSeconds = 3600
    sensitive_limit: Count = 100
    sensitive_window: WholeSeconds = 60
    # Wrong passwords in a window: of an account from one address, and of an address in all.
    login_failures: Count = 10
    login_failures_by_address: Count = 100
    login_window: WholeSeconds = 900
    # Worker processes on all hosts together, by default those of this one. While Valkey is away,
    # each of them grants a caller this part of a limit.
    limit_workers: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    # Callers of each limit that a worker remembers: about 400 bytes each.
    limit_callers: Annotated[int, Meta(ge=16, le=10_000_000)] = 50_000
    # What a request waits for Valkey at most; past it, Valkey counts as away.
    valkey_timeout: Seconds = 0.05
    # What a worker keeps of finished answers and query results in its own memory.
    cache_memory_bytes: Annotated[int, Meta(ge=1_048_576, le=1_099_511_627_776)] = 67_108_864
    # The file that a host's processes share to know what has changed; by default in /dev/shm, named
    # by the database. Every process on the host that serves the same database must have the same.
    shared_memory: Path | None = None

    access_token_seconds: WholeSeconds = 900
    refresh_token_seconds: WholeSeconds = 2_592_000
    token_issuer: Text = "mercenary"  # noqa: S105
    token_audience: Text = "mercenary-api"  # noqa: S105
    # OWASP's minimum for argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
    argon2_memory_kib: Annotated[int, Meta(ge=8, le=4_194_304)] = 19_456
    argon2_time_cost: Annotated[int, Meta(ge=1, le=1000)] = 2
    argon2_parallelism: Annotated[int, Meta(ge=1, le=64)] = 1
    password_hashes_at_once: Annotated[int, Meta(ge=1, le=256)] = 2
    password_hashes_waiting: Count = 64

    # Whose pages may call from a browser; in the environment with commas between them.
    cors_origins: tuple[Text, ...] = ()

    # Cleaning up: how often, rows a transaction, seconds between two transactions.
    clean_every: Seconds = 300.0
    clean_rows: Count = 1000
    clean_pause: Seconds = 0.05
    # The relay: rows a round, seconds between two looks at an empty outbox, and the seconds after
    # which one that hangs loses its turn to another.
    relay_rows: Annotated[int, Meta(ge=1, le=10_000)] = 2000
    relay_pause: Seconds = 0.05
    relay_turn: Seconds = 2.0
    # A deactivated account is erased after so long.
    erase_after: WholeSeconds = 2_592_000

    # Statistics are refreshed so long after a change or as soon as so many were counted, with so
    # long in between at least. The timeout is of each of the two statements that do it.
    stats_every: Seconds = 300.0
    stats_changes: Count = 1000
    stats_least: Seconds = 30.0
    stats_timeout: Seconds = 600.0

    max_body_bytes: Annotated[int, Meta(ge=1024, le=1_073_741_824)] = 1_048_576
    # How long a body may take to arrive, and how much a worker keeps of those that have in part.
    body_seconds: Seconds = 10.0
    arriving_bodies_bytes: Annotated[int, Meta(ge=1_048_576, le=68_719_476_736)] = 67_108_864
    max_json_depth: Annotated[int, Meta(ge=1, le=512)] = 32

    # For tests alone, see `crash_points`.
    crash_points: Path | None = None


@dataclass(frozen=True)
class Loaded:
    """The settings and, by field, where each came from: default, the file, or a variable."""

    settings: Settings
    sources: Mapping[str, str]


class SetupError(Exception):
    """Something that the person at the terminal can mend: one line of what, and what to do.

    Commands end on it with exit code 2 and without a traceback.
    """


class SettingsError(SetupError):
    """The settings can't be used. `lines` names every fault at once, each with its source."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


FIELDS: Final = {field.name: field for field in msgspec.structs.fields(Settings)}


def variable(name: str) -> str:
    """The environment's name of a field."""
    return GUIDE_NAMES.get(name, PREFIX + name.upper())


def load(environ: Mapping[str, str] | None = None, file: Path | None = None) -> Loaded:
    """Read the settings from the environment and from `file`, by default mercenary.toml here.

    Raises `SettingsError` when a value is out of its bounds, a name is unknown, the file can't be
    read, or production lacks a secret of its own.
    """
    environ = os.environ if environ is None else environ
    faults: list[str] = []
    values: dict[str, Any] = {}
    sources = dict.fromkeys(FIELDS, "default")
    given = [*_from_file(file, faults), *_from_environment(environ, faults)]
    for name, value, source in given:
        try:
            values[name] = msgspec.convert(
                value, FIELDS[name].type, strict=False, dec_hook=_decode_path
            )
        except msgspec.ValidationError as error:
            given_as = source.removeprefix("environment ")
            faults.append(f"{given_as} is {masked(name, value)}: {_plain(error)}")
        else:
            sources[name] = source
    settings = Settings(**values)
    faults.extend(_unsafe(settings))
    faults.extend(_out_of_order(settings))
    faults.extend(_no_networks(settings))
    faults.extend(_misspelt_origins(settings))
    faults.extend(_incomplete_cdn(settings))
    if faults:
        raise SettingsError(faults)
    return Loaded(settings, sources)


@functools.cache
def get() -> Settings:
    """This process's settings, read on the first call."""
    return load().settings


def masked(name: str, value: object) -> str:
    """A value as people may see it: no secret, and no password inside an address."""
    if name == "secret_key":
        return "(the development default)" if value == DEVELOPMENT_SECRET else "********"
    if value is None:
        return "(none)"
    if name in SECRETS:
        return "********"
    if isinstance(value, msgspec.Struct | dict | list | tuple):
        text = msgspec.json.encode(value).decode()
    else:
        text = str(value)
    # Greedy up to the last @, because people forget to escape one inside a password.
    text = re.sub(r'(\w://[^:@/\s"]*):[^\s"]*@', r"\1:********@", text)
    return re.sub(r'([?&](?:password|sslpassword)=)[^&\s"]*', r"\1********", text)


def _from_file(file: Path | None, faults: list[str]) -> list[tuple[str, Any, str]]:
    path = FILE if file is None else file
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if file is not None:
            faults.append(f"{path} is not there")
        return []
    except OSError as error:
        faults.append(f"{path} can't be read: {error.strerror}")
        return []
    except ValueError as error:  # malformed TOML, or not UTF-8
        faults.append(f"{path} is not valid TOML: {error}")
        return []
    given = []
    for name, value in table.items():
        if name in FIELDS:
            given.append((name, value, f"{path.name} {name}"))
        else:
            faults.append(f"{path.name} {name} is not a setting{_nearest(name, list(FIELDS))}")
    return given


def _from_environment(environ: Mapping[str, str], faults: list[str]) -> list[tuple[str, Any, str]]:
    names = {variable(name): name for name in FIELDS}
    given: list[tuple[str, Any, str]] = []
    for key in sorted(environ):
        name = names.get(key)
        if name is None:
            if key.startswith(PREFIX):
                faults.append(f"{key} is not a setting{_nearest(key, list(names))}")
            continue
        value: Any = environ[key]
        if name in ("sqlalchemy_engine_options", "cache_config"):
            try:
                value = msgspec.json.decode(value)
            except msgspec.DecodeError as error:
                faults.append(f"{key} is not valid JSON: {error}")
                continue
        elif get_origin(FIELDS[name].type) is tuple:
            value = [each.strip() for each in value.split(",") if each.strip()]
        given.append((name, value, f"environment {key}" if key.startswith(PREFIX) else key))
    return given


def _out_of_order(settings: Settings) -> list[str]:
    names = [f"in_flight_{bound}" for bound in ("least", "start", "most")]
    values = [getattr(settings, name) for name in names]
    if values == sorted(values):
        return []
    given = ", ".join(
        f"{variable(name)} is {value}" for name, value in zip(names, values, strict=True)
    )
    return [f"{given}: each must be at least the one before"]


def _unsafe(settings: Settings) -> list[str]:
    if settings.environment != "production":
        return []
    faults = _weak_secret(settings.secret_key)
    if settings.crash_points is not None:
        faults.append("MERCENARY_CRASH_POINTS is for tests; unset it in production")
    return faults


def _weak_secret(secret: str) -> list[str]:
    if secret == DEVELOPMENT_SECRET:
        fault = "is missing or the default"
    elif len(secret) < SECRET_LENGTH:
        fault = f"is shorter than {SECRET_LENGTH} characters"
    else:
        return []
    return [
        f"MERCENARY_SECRET_KEY {fault}, and production needs one of its own: "
        'python -c "import secrets; print(secrets.token_urlsafe(48))" makes one'
    ]


def _no_networks(settings: Settings) -> list[str]:
    faults = []
    for given in settings.trusted_proxies:
        try:
            if given != UNIX_SOCKET:
                ip_network(given)
        except ValueError as error:
            name = variable("trusted_proxies")
            faults.append(f"{name} is no list of networks such as 10.0.0.0/8: {error}")
    return faults


def _misspelt_origins(settings: Settings) -> list[str]:
    return [
        f"{variable('cors_origins')} names {origin!r}, which no browser sends: write each as "
        "https://app.example.com, in lower case, without a path, a default port or a wildcard"
        for origin in settings.cors_origins
        if not _ORIGIN.fullmatch(origin)
    ]


def _incomplete_cdn(settings: Settings) -> list[str]:
    missing = [variable(name) for name in incomplete(settings)]
    if not missing:
        return []
    return [f"MERCENARY_CDN is {settings.cdn}, which needs {' and '.join(missing)}"]


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value).expanduser()
    raise ValueError("Expected the path of a folder")


def _plain(error: msgspec.ValidationError) -> str:
    text = str(error).replace(" - at `$.", " at `").removesuffix(" - at `$`")
    return text[0].lower() + text[1:]


def _nearest(name: str, known: list[str]) -> str:
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""
