"""The application with an endpoint more, which breaks in many ways while it holds secrets.

`mercenary serve --target tests.faults.faulty:create_app` runs it.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy import text

from mercenary import app
from mercenary.auth.schemas import Credentials
from mercenary.db import engine
from mercenary.http.access import Caller, anyone
from mercenary.http.endpoint import endpoint

CREDENTIALS = "INSERT INTO credentials (email, user_id, password_hash)"


async def lose_an_argument(given: Credentials) -> None:
    """asyncpg quotes the argument that has another type than the statement asks for."""
    await _run("INSERT INTO sessions (user_id) VALUES (:email)", given)


async def break_a_unique_constraint(given: Credentials) -> None:
    """PostgreSQL's DETAIL quotes the key that is there already."""
    for _ in range(2):
        await _run(
            f"{CREDENTIALS} VALUES (:email, 1, :password)",
            given,
        )


async def break_a_check(given: Credentials) -> None:
    """PostgreSQL's DETAIL quotes the whole row."""
    await _run(
        f"{CREDENTIALS} VALUES (upper(:email), 1, :password)",
        given,
    )


async def break_in_python(given: Credentials) -> None:
    """A fault of ours, with the secrets among the locals of two frames."""
    password = given.password
    secrets = {"email": given.email, "password": password}
    raise LookupError(f"{len(secrets)} things and no way to tell them apart")


async def break_a_group(given: Credentials) -> None:
    """Faults that come together."""
    async with asyncio.TaskGroup() as group:
        group.create_task(break_a_check(given))
        group.create_task(break_in_python(given))


async def leave_a_task_alone(given: Credentials) -> None:
    """A task that nobody asks how it went; asyncio logs it by itself."""
    task = asyncio.create_task(break_a_check(given))
    await asyncio.wait({task})
    del task
    raise LookupError("the task is nobody's now")


FAULTS: dict[str, Callable[[Credentials], Awaitable[None]]] = {
    fault.__name__: fault
    for fault in (
        lose_an_argument,
        break_a_unique_constraint,
        break_a_check,
        break_in_python,
        break_a_group,
        leave_a_task_alone,
    )
}


class Broken(msgspec.Struct, frozen=True):
    """What is never answered."""

    example = {"broken": True}

    broken: bool


@endpoint("POST", "/faults/{name}", access=anyone)
async def break_somehow(caller: Caller, name: str, body: Credentials) -> Broken:
    """Break in the named way."""
    del caller
    await FAULTS[name](body)
    return Broken(True)


def create_app() -> app.Application:
    """The product's application and the endpoint above."""
    app.ENDPOINTS = (*app.ENDPOINTS, break_somehow)
    return app.create_app()


async def _run(statement: str, given: Credentials) -> None:
    values = {"email": given.email, "password": given.password}
    async with engine.current().engine.begin() as connection:
        await connection.execute(text(statement), values)
