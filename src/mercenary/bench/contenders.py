"""The servers that are measured: the product, and the yardsticks beside it.

Each is a process of its own under the same granian with the same number of workers, on loopback.
"""

import asyncio
import importlib.util
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from mercenary.bench import bare_asgi
from mercenary.bench.interrupt import interrupted
from mercenary.bench.marketplace import Callers, Claims, claims_of
from mercenary.bench.report import PRODUCT
from mercenary.bench.traffic import Target
from mercenary.local.children import Child, run_once
from mercenary.local.ports import hold_port
from mercenary.local.probe import http_answers
from mercenary.local.stack import Stack
from mercenary.local.supervisor import mercenary_command
from mercenary.settings import SetupError

BARE: Final = "bare-asgi"
PLAIN: Final = "plain-fastapi"
EXTRA: Final = ("cashews", "fastapi", "pydantic")
"""The packages of the extra `bench`."""
HOST: Final = "127.0.0.1"
CALLERS: Final = 10_000
_ADMINS: Final = 8
# A bench may take longer than a token of the product lives.
_TOKEN_SECONDS: Final = 86_400
_READY_SECONDS: Final = 600.0


@dataclass(frozen=True)
class Contender:
    """A server to measure. Processes are None where they can't be looked at."""

    name: str
    target: Target
    callers: Callers
    server_pid: int | None
    database_pid: int | None


@dataclass(frozen=True)
class Place:
    """Where the product runs, and where its database is, if that is known."""

    product: Contender
    tokens: Mapping[str, Claims]
    database_uri: str | None
    environment: Mapping[str, str]


@contextmanager
def private_stack(
    scale: str,
    workers: int,
    environment: Mapping[str, str] | None = None,
    *,
    ready_within: float = _READY_SECONDS,
) -> Iterator[Place]:
    """A stack of our own with so many projects, gone afterwards.

    `environment` holds settings of its own by their environment names. Within so many seconds it
    is seeded and answers.

    Raises:
        StackError, ChildError: it can't be started.
    """
    stack = Stack(
        workers=workers,
        environment=environment,
        seed=scale,
        ready_within=ready_within,
        halted=interrupted,
    )
    with _stopping(stack):
        stack.start()
        servers = stack.environment()
        tokens = _mint(stack, servers)
        pids = {one.name: one.mark.pid for one in stack.state.services if one.mark is not None}
        target = Target(HOST, int(stack.url.rpartition(":")[2]))
        callers = Callers.of(tokens)
        product = Contender(PRODUCT, target, callers, pids.get("api"), pids.get("postgres"))
        yield Place(product, tokens, stack.database_uri, servers)


def read_tokens(file: Path) -> dict[str, Claims]:
    """Tokens from a file, one at the end of each line.

    Raises:
        SetupError: it can't be read, is empty, or holds something else.
    """
    try:
        lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"the tokens' file {file} can't be read: {error}") from error
    tokens = {fields[-1]: claims_of(fields[-1]) for fields in lines if fields}
    if not tokens:
        raise SetupError(f"the tokens' file {file} is empty; `mercenary token --count` fills it")
    return tokens


def _mint(stack: Stack, environment: Mapping[str, str]) -> dict[str, Claims]:
    """Tokens of clients and freelancers, and of some admins, who may change any project.

    One admin alone would soon have written as often in an hour as anybody may.
    """
    file = stack.folder / "tokens"
    lifetime = ("--lifetime", str(_TOKEN_SECONDS))
    many = mercenary_command("token", "--count", str(CALLERS), "--out", str(file), *lifetime)
    run_once(many, environment=environment, halted=interrupted)
    tokens = read_tokens(file)
    for admin in asyncio.run(_admins(stack.database_uri)):
        one = mercenary_command("token", "--user", str(admin), *lifetime)
        token = run_once(one, environment=environment, halted=interrupted).strip()
        tokens[token] = claims_of(token)
    return tokens


async def _admins(uri: str) -> list[int]:
    connection = await asyncpg.connect(uri)
    try:
        found = await connection.fetch(
            "SELECT id FROM users WHERE role = 'admin' AND is_active ORDER BY id LIMIT $1", _ADMINS
        )
    finally:
        await connection.close()
    return [row["id"] for row in found]


@contextmanager
def another(
    place: Place, name: str, folder: Path, workers: int, settings: Mapping[str, str]
) -> Iterator[Contender]:
    """The product once more on the same servers, with other settings by their environment names."""
    environment = {**place.environment, **settings}
    with _served(name, _serve("mercenary.app", workers), environment, folder) as (port, pid):
        yield Contender(
            name, Target(HOST, port), place.product.callers, pid, place.product.database_pid
        )


@contextmanager
def bare(
    place: Place, answers: Mapping[str, bytes], folder: Path, workers: int
) -> Iterator[Contender]:
    """The bare ASGI callable with the product's own answers (see `bare_asgi`)."""
    for name, body in answers.items():
        (folder / name).write_bytes(body)
    environment = {**place.environment, bare_asgi.ANSWERS: str(folder)}
    command = _serve("mercenary.bench.bare_asgi", workers)
    with _served(BARE, command, environment, folder) as (port, pid):
        yield Contender(BARE, Target(HOST, port), place.product.callers, pid, None)


@contextmanager
def plain(place: Place, uri: str, folder: Path, workers: int) -> Iterator[Contender]:
    """The plain FastAPI application on the product's database, with tokens for the same people."""
    from mercenary.bench import plain_fastapi  # needs the extra

    secret = secrets.token_urlsafe(32)
    tokens = {
        plain_fastapi.mint(int(claims.sub), secret, _TOKEN_SECONDS, number): claims
        for number, claims in enumerate(place.tokens.values())
    }
    environment = {
        **place.environment,
        plain_fastapi.DATABASE: uri,
        plain_fastapi.SECRET: secret,
    }
    command = _serve(plain_fastapi.__name__, workers)
    with _served(PLAIN, command, environment, folder) as (port, pid):
        yield Contender(
            PLAIN, Target(HOST, port), Callers.of(tokens), pid, place.product.database_pid
        )


def require_extra() -> None:
    """Check that what the yardsticks need is there.

    Raises:
        SetupError: a package of the extra is missing.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise SetupError(
            f"{' and '.join(missing)} is missing, which the yardsticks need; "
            "`make bench` installs it, or: pip install 'mercenary[bench]'"
        )


@contextmanager
def _stopping(stack: Stack) -> Iterator[None]:
    """Stop the stack in the end, also when its start is cut short."""
    try:
        yield
    finally:
        stack.__exit__(None, None, None)


@contextmanager
def _served(
    name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Iterator[tuple[int, int | None]]:
    with hold_port(HOST, 0) as port:
        child = Child(
            name,
            [*command, "--port", str(port)],
            folder / f"{name}.log",
            lambda: http_answers(HOST, port, "/docs"),
            environment={**os.environ, **environment},
            halted=interrupted,
        )
        try:
            child.start()
            yield port, child.pid
        finally:
            child.stop()


def _serve(module: str, workers: int) -> Sequence[str]:
    where = ("--host", HOST, "--workers", str(workers))
    return mercenary_command("serve", "--target", f"{module}:create_app", *where)
