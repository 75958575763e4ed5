"""`mercenary admin`: make an administrator or end it, which no request can do."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from mercenary.auth import admins
from mercenary.auth.passwords import hasher_of
from mercenary.auth.schemas import Password
from mercenary.cli.failures import CommandError
from mercenary.db import engine
from mercenary.db.migrate import pending
from mercenary.errors import Conflict
from mercenary.http.wire import Email
from mercenary.local.state import effective
from mercenary.settings import Settings, load

NAME_LENGTH = 120


@click.group()
def command() -> None:
    """Make an administrator, or end it."""


@command.command()
@click.argument("email")
@click.option("--name", help="Of a new account; by default the address's part before the @.")
def add(email: str, name: str | None) -> None:
    """Open an admin's account, or make an admin of the account that EMAIL has.

    A new account's password is asked for, or read from standard input.
    """
    address = _address(email)
    name = (name or address.partition("@")[0]).strip()
    if not 1 <= len(name) <= NAME_LENGTH:
        raise CommandError(f"--name has no or more than {NAME_LENGTH} characters; give another")
    try:
        click.echo(asyncio.run(_add(effective(load()), address, name)))
    except Conflict as conflict:
        raise CommandError(f"{conflict.detail} Give another address.") from conflict


@command.command()
@click.argument("email")
def remove(email: str) -> None:
    """Make a client's account of the admin's that EMAIL has; all its sessions end."""
    try:
        click.echo(asyncio.run(_remove(effective(load()), _address(email))))
    except Conflict as conflict:
        raise CommandError(f"{conflict.detail} Give an admin's address.") from conflict


async def _add(settings: Settings, email: str, name: str) -> str:
    async with _database(settings) as database:
        user_id = await admins.find_account(database, email)
        if user_id is not None:
            await admins.promote(database, user_id)
            return f"User {user_id} ({email}) is an admin and has to sign in again."
        hashed = hasher_of(settings).hash(_password())
        user_id = await admins.create(database, email, name, hashed)
        return f"User {user_id} ({email}) was added as an admin."


async def _remove(settings: Settings, email: str) -> str:
    async with _database(settings) as database:
        user_id = await admins.find_account(database, email)
        if user_id is None:
            raise CommandError(f"nobody has the address {email}")
        await admins.demote(database, user_id)
        return f"User {user_id} ({email}) is a client and has to sign in again."


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[engine.Database]:
    uri = settings.sqlalchemy_database_uri or ""
    if await pending(uri):
        raise CommandError("the database's schema is not current; run `mercenary migrate` first")
    database = engine.Database(settings, uri)
    engine.use(database)
    try:
        yield database
    finally:
        engine.use(None)
        await database.close()


def _address(given: str) -> str:
    try:
        return str(Email.parse(given))
    except ValueError as error:
        raise CommandError(f"{given} is no e-mail address; {error}") from error


def _password() -> str:
    """The new account's password, from a person at a terminal or from the first line of a pipe."""
    if sys.stdin.isatty():
        given = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    try:
        return Password.parse(given)
    except ValueError as error:
        raise CommandError(f"the password can't be used; {error}") from error
