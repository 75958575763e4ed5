"""`mercenary db long`: transactions over a limit, and what else keeps old rows and log."""

import sys

import click
from rich.console import Group, RenderableType
from rich.markup import escape

from mercenary.cli.db.showing import as_json_option, ask, bytes_text, show, table_of
from mercenary.cli.spans import short
from mercenary.db.inspection.activity import Long, long


@click.command("long")
@click.option(
    "--over",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="Seconds a transaction may be open.",
)
@as_json_option
def command(over: float, as_json: bool) -> None:
    """Show transactions that have been open for long, and slots that nobody reads from.

    They keep locks, rows that vacuum could remove, or the log. Exit code 1 when there are any.
    """
    found = ask(lambda db: long(db, over))
    show(found, _tables, as_json=as_json)
    sys.exit(1 if found.transactions or found.prepared or found.slots else 0)


def _tables(found: Long) -> RenderableType:
    shown: list[RenderableType] = []
    if found.transactions:
        rows = [
            (
                str(each.pid),
                each.application,
                each.state,
                short(each.transaction_seconds),
                short(each.state_seconds),
                f"{each.held_back:,}",
                escape(each.statement),
            )
            for each in found.transactions
        ]
        columns = ("#pid", "application", "state", "#open for", "#in it for", "#xids held", "last")
        shown.append(table_of("Transactions", columns, rows))
    if found.prepared:
        shown.append(
            table_of(
                "Prepared, and not ended",
                ("name", "#since", "#xids held"),
                [(e.name, short(e.seconds), f"{e.held_back:,}") for e in found.prepared],
            )
        )
    if found.slots:
        shown.append(
            table_of(
                "Replication slots that nobody reads from",
                ("name", "#log kept", "#xids held"),
                [(e.name, bytes_text(e.kept_bytes), f"{e.held_back:,}") for e in found.slots],
            )
        )
    return Group(*shown) if shown else "No transaction has been open for so long."
