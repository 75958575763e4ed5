"""`mercenary seed`: fill an empty database with a believable marketplace."""

import asyncio
import time

import click

from mercenary.local.state import effective
from mercenary.seeding.seed import SCALES, seed
from mercenary.settings import load


@click.command()
@click.option(
    "--scale", type=click.Choice(list(SCALES)), default="1k", show_default=True, help="Projects."
)
@click.option(
    "--seed",
    "number",
    type=int,
    default=1,
    show_default=True,
    help="The same number gives the same rows.",
)
@click.option(
    "--demo/--no-demo",
    "with_demo",
    default=None,
    help="Accounts with known passwords; by default in development only.",
)
def command(scale: str, number: int, with_demo: bool | None) -> None:
    """Fill an empty database with users, projects and proposals."""
    settings = effective(load())
    if with_demo is None:
        with_demo = settings.environment == "development"
    began = time.perf_counter()
    stored = asyncio.run(
        seed(
            settings.sqlalchemy_database_uri or "",
            settings,
            projects=SCALES[scale],
            seed=number,
            with_demo=with_demo,
        )
    )
    click.echo(
        f"Seeded {stored.users:,} users, {stored.projects:,} projects and "
        f"{stored.proposals:,} proposals in {time.perf_counter() - began:.1f} s."
    )
