"""`mercenary db distribute`: spread the tables over the servers of a Citus cluster."""

import asyncio
from typing import Final

import click
from sqlalchemy.ext.asyncio import AsyncConnection

import mercenary.app
import mercenary.cdn.tables  # noqa: F401 - whoever has tables declares them
from mercenary.cli.db.showing import as_json_option, as_json_text, ask
from mercenary.cli.failures import CommandError
from mercenary.db.distribution import Done, Step, distribute, plan
from mercenary.db.metadata import metadata
from mercenary.db.migrate import pending
from mercenary.local.state import effective
from mercenary.settings import load

# Moving a table of a hundred million rows takes hours.
SECONDS: Final = 24 * 3600.0


@click.command()
@click.option("--dry-run", is_flag=True, help="Print the statements in their order, run none.")
@as_json_option
def command(dry_run: bool, as_json: bool) -> None:
    """Spread a migrated database on a Citus coordinator over its workers.

    Stop whatever uses the database before, and start it anew afterwards. Can be run again, and
    goes on where it was.
    """
    if asyncio.run(pending(effective(load()).sqlalchemy_database_uri or "")):
        raise CommandError("the database's schema is not current; run `mercenary migrate` first")

    async def planned(db: AsyncConnection) -> list[Step]:
        return await plan(db, metadata)

    async def distributed(db: AsyncConnection) -> list[Done]:
        return await distribute(db, metadata, tell=_said if not as_json else _nothing)

    if dry_run:
        left = ask(planned)
        if as_json:
            click.echo(as_json_text(left))
        else:
            click.echo("".join(f"{step.sql};\n" for step in left), nl=False)
        return
    done = ask(distributed, seconds=SECONDS)
    if as_json:
        click.echo(as_json_text(done))
    elif not done:
        click.echo("Everything is distributed.")
    else:
        click.echo("Distributed. Start whatever uses the database anew.")


def _said(done: Done) -> None:
    rows = "" if done.rows is None else f"  -- {done.rows:,} rows"
    click.echo(f"{done.sql};{rows}")


def _nothing(_: Done) -> None:
    """JSON is printed at the end, as one."""
