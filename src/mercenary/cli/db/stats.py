"""`mercenary db stats`: what the database is asked most."""

from collections.abc import Sequence
from datetime import datetime

import click
import msgspec
from rich.console import Group, RenderableType
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.cli.db.showing import (
    as_json_option,
    ask,
    bytes_text,
    entries_of,
    share_text,
    show,
    table_of,
)
from mercenary.db.inspection.hits import Hits, hits
from mercenary.db.inspection.privileges import Role, role
from mercenary.db.inspection.statements import ORDERS, Statement, reset, statistics
from mercenary.ops.naming import names, shape

HIDDEN = "(another role's)"


class Stats(msgspec.Struct, frozen=True):
    """The statements since a moment (None where it isn't told), and what reads found in memory."""

    role: Role
    since: datetime | None
    statements: Sequence[Statement]
    hits: Hits


@click.command()
@click.option("--by", type=click.Choice(list(ORDERS)), default="total", show_default=True)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--reset", "anew", is_flag=True, help="Begin to count anew, and show nothing.")
@as_json_option
def command(by: str, limit: int, anew: bool, as_json: bool) -> None:
    """Show the statements that took most time, came most often, or read or wrote most.

    By pg_stat_statements; where that is missing, the exit code is 2 and it is said how to get it.
    The product's own go by their names, which `mercenary db explain` takes. A ratio of hits is what
    PostgreSQL had in its own memory; of what it hadn't, the system may have had much in its own.
    """
    if anew:
        ask(_reset)
        click.echo("The statistics of statements begin anew.")
        return

    async def stats(db: AsyncConnection) -> Stats:
        found = await statistics(db, by=by, most=limit)
        return Stats(await role(db), found.since, found.statements, await hits(db))

    found = ask(stats)
    show(
        msgspec.structs.replace(found, statements=_named(found.statements)),
        _tables,
        as_json=as_json,
    )


def _named(statements: Sequence[Statement]) -> Sequence[Statement]:
    """The statements with the names of the product's queries."""
    by_shape = names()
    return [
        msgspec.structs.replace(each, name=by_shape.get(shape(each.text or "")))
        for each in statements
    ]


async def _reset(db: AsyncConnection) -> None:
    await reset(db)
    await db.commit()


def _tables(found: Stats) -> RenderableType:
    since = f" since {found.since:%Y-%m-%d %H:%M} UTC" if found.since else ""
    shown = [_statements(f"Statements{since}", found.statements), "", _hits(found.hits)]
    if found.role.hint:
        shown.append(found.role.hint)
    return Group(*shown)


def _statements(title: str, statements: Sequence[Statement]) -> RenderableType:
    columns = ("#time", "#ms in all", "#ms each", "#calls", "#rows", "#hits", "#spilled", "#log")
    rows = [
        (
            (
                f"{each.share:.1%}",
                f"{each.total_ms:,.0f}",
                f"{each.mean_ms:,.3f}",
                f"{each.calls:,}",
                f"{each.rows:,}",
                share_text(each.hit_ratio),
                bytes_text(each.spilled_bytes) if each.spilled_bytes else "-",
                bytes_text(each.wal_bytes) if each.wal_bytes else "-",
            ),
            f"{each.name}: {each.text}" if each.name else each.text or HIDDEN,
        )
        for each in statements
    ]
    return entries_of(title, columns, rows)


def _hits(found: Hits) -> RenderableType:
    title = (
        f"In memory: {share_text(found.table_hit_ratio)} of tables, "
        f"{share_text(found.index_hit_ratio)} of indexes, {share_text(found.hit_ratio)} of it all"
    )
    rows = [
        (
            each.name,
            share_text(each.hit_ratio),
            f"{each.reads:,}",
            share_text(each.index_hit_ratio),
            f"{each.index_reads:,}",
        )
        for each in found.by_table
        if each.hit_ratio is not None or each.index_hit_ratio is not None
    ]
    return table_of(title, ("table", "#hits", "#blocks read", "#of indexes", "#blocks read"), rows)
