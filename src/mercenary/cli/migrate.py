"""`mercenary migrate`: bring the schema up to date, or only tell whether it is."""

import asyncio
import sys

import click

from mercenary.db import migrate
from mercenary.local.state import effective
from mercenary.settings import load


@click.command()
@click.option(
    "--check", is_flag=True, help="Change nothing; exit with 1 when something is pending."
)
def command(check: bool) -> None:
    """Bring the database's schema up to date."""
    uri = effective(load()).sqlalchemy_database_uri or ""
    if not check:
        applied = asyncio.run(migrate.upgrade(uri))
        click.echo(f"Applied {', '.join(applied)}." if applied else "Nothing to apply.")
        return
    waiting = asyncio.run(migrate.pending(uri))
    click.echo(f"Pending: {', '.join(waiting)}." if waiting else "The schema is current.")
    sys.exit(1 if waiting else 0)
