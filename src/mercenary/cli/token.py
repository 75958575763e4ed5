"""`mercenary token`: access tokens for tools, each with a session of its own."""

import asyncio
import os
from pathlib import Path

import click

from mercenary.cli.failures import CommandError
from mercenary.db.migrate import pending
from mercenary.local.state import effective
from mercenary.seeding.tokens import Issued, issue
from mercenary.settings import Settings, load

YEAR_SECONDS = 31_536_000


@click.command()
@click.option("--user", "user_id", type=click.IntRange(1, 2**63 - 1), help="One token, for a user.")
@click.option("--count", type=click.IntRange(1, 1_000_000), help="Tokens for so many sessions.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file for user, role and token, tab between them, one a line.",
)
@click.option(
    "--lifetime",
    type=click.IntRange(1, YEAR_SECONDS),
    help="Seconds; by default those of every access token.",
)
def command(user_id: int | None, count: int | None, out: Path | None, lifetime: int | None) -> None:
    """Mint access tokens for existing users.

    Without --out, the token of --user is printed alone, for use in a shell, and those of --count
    as they would be in the file.
    """
    if (user_id is None) == (count is None):
        raise CommandError("say whose token: give either --user N or --count K")
    issued = asyncio.run(_issue(effective(load()), user_id, count or 1, lifetime))
    lines = "".join(f"{each.user_id}\t{each.role}\t{each.token}\n" for each in issued)
    if out is not None:
        _write(out, lines)
        click.echo(f"Wrote {len(issued):,} tokens to {out}.")
    elif user_id is not None:
        click.echo(issued[0].token)
    else:
        click.echo(lines, nl=False)


async def _issue(
    settings: Settings, user_id: int | None, count: int, lifetime: int | None
) -> list[Issued]:
    uri = settings.sqlalchemy_database_uri or ""
    if await pending(uri):
        raise CommandError("the database's schema is not current; run `mercenary migrate` first")
    seconds = lifetime or settings.access_token_seconds
    return await issue(uri, settings, seconds=seconds, user_id=user_id, count=count)


def _write(out: Path, lines: str) -> None:
    """Tokens are as good as passwords while they live, so the file is its owner's alone."""
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise CommandError(
            f"{out} can't be written: {error.strerror}; give another --out"
        ) from error
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(lines)
