"""`mercenary db pool`: who is connected to the server."""

import sys

import click
from rich.table import Table

from mercenary.cli.db.showing import as_json_option, ask, show, table_of
from mercenary.cli.spans import short
from mercenary.db.inspection.activity import Connections, connections

NEARLY_FULL = 0.9


@click.command()
@as_json_option
def command(as_json: bool) -> None:
    """Show the server's connections, by application and state.

    Exit code 1 when nine tenths of what the server takes are in use.
    """
    found = ask(connections)
    show(found, _table, as_json=as_json)
    sys.exit(1 if found.used >= NEARLY_FULL * (found.limit - found.reserved) else 0)


def _table(found: Connections) -> Table:
    title = f"{found.used} of {found.limit} connections, {found.reserved} kept for superusers"
    rows = [
        (
            each.application or "(unnamed)",
            each.state,
            str(each.count),
            "-" if each.oldest_seconds is None else short(each.oldest_seconds),
        )
        for each in found.groups
    ]
    return table_of(title, ("application", "state", "#connections", "#longest in it"), rows)
