"""`mercenary db stats`: what the database is asked most."""

import click
from rich.markup import escape
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.cli.db.showing import as_json_option, ask, bytes_text, show, table_of
from mercenary.db.inspection.statements import ORDERS, Statistics, reset, statistics


@click.command()
@click.option("--by", type=click.Choice(list(ORDERS)), default="total", show_default=True)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--reset", "anew", is_flag=True, help="Begin to count anew, and show nothing.")
@as_json_option
def command(by: str, limit: int, anew: bool, as_json: bool) -> None:
    """Show the statements that took most time, came most often, or read most.

    By pg_stat_statements, which is said to be missing where it is.
    """
    if anew:
        ask(_reset)
        click.echo("The statistics of statements begin anew.")
        return
    show(ask(lambda db: statistics(db, by=by, most=limit)), _table, as_json=as_json)


async def _reset(db: AsyncConnection) -> None:
    await reset(db)
    await db.commit()


def _table(found: Statistics) -> Table:
    since = f" since {found.since:%Y-%m-%d %H:%M} UTC" if found.since else ""
    title = f"Statements{since}; {found.hit_ratio:.2%} of all blocks were in memory"
    rows = [
        (
            f"{each.share:.1%}",
            f"{each.total_ms:,.0f}",
            f"{each.mean_ms:,.3f}",
            f"{each.calls:,}",
            f"{each.rows:,}",
            f"{each.hit_ratio:.1%}",
            bytes_text(each.spilled_bytes) if each.spilled_bytes else "",
            escape(each.text[:300]),
        )
        for each in found.statements
    ]
    columns = (
        "#time",
        "#ms in all",
        "#ms each",
        "#calls",
        "#rows",
        "#hits",
        "#spilled",
        "statement",
    )
    return table_of(title, columns, rows)
