"""`mercenary db long`: transactions over a limit, and what else keeps old rows and log."""

import sys
from collections.abc import Sequence

import click
from rich.console import Group, RenderableType
from rich.markup import escape

from mercenary.cli.db.showing import as_json_option, ask, bytes_text, entries_of, show
from mercenary.cli.spans import short
from mercenary.db.inspection.activity import Long, OpenTransaction, long


@click.command("long")
@click.option(
    "--over",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="Seconds a transaction may be open.",
)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@as_json_option
def command(over: float, limit: int, as_json: bool) -> None:
    """Show transactions that have been open for long, and slots that nobody reads from.

    They keep locks, rows that vacuum could remove, or the log. Exit code 0 when there are none, 1
    when there are any, 2 when the database can't be asked.
    """
    found = ask(lambda db: long(db, over, most=limit))
    show(found, _tables, as_json=as_json)
    sys.exit(1 if found.transactions or found.prepared or found.slots else 0)


def _tables(found: Long) -> RenderableType:
    shown: list[RenderableType] = []
    if found.transactions:
        shown.append(_transactions(found.transactions))
    if found.prepared:
        columns = ("#open for", "#xids held", "name")
        rows = [
            ((short(e.seconds), f"{e.held_back:,}", escape(e.name)), e.remedy)
            for e in found.prepared
        ]
        shown.append(entries_of("Prepared, and not ended", columns, rows))
    if found.slots:
        columns = ("#log kept", "#xids held", "name")
        rows = [
            ((bytes_text(e.kept_bytes), f"{e.held_back:,}", escape(e.name)), e.remedy)
            for e in found.slots
        ]
        shown.append(entries_of("Replication slots that nobody reads from", columns, rows))
    if not shown:
        shown.append("No transaction has been open for so long.")
    if found.role.hint:
        shown.append(found.role.hint)
    return Group(*shown)


def _transactions(transactions: Sequence[OpenTransaction]) -> RenderableType:
    columns = ("#pid", "#open for", "#in it for", "#xids held", "state", "application")
    rows = [
        (
            (
                str(each.pid),
                short(each.transaction_seconds),
                short(each.state_seconds),
                f"{each.held_back:,}",
                each.state,
                escape(each.application),
            ),
            f"{each.statement}\nto end it: {each.remedy}",
        )
        for each in transactions
    ]
    return entries_of("Transactions", columns, rows)
