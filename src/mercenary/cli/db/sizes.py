"""`mercenary db sizes`: what takes how much room."""

import click
from rich.table import Table

from mercenary.cli.db.showing import as_json_option, ask, bytes_text, show, table_of
from mercenary.db.inspection.sizes import Sizes, sizes


@click.command()
@as_json_option
def command(as_json: bool) -> None:
    """Show how large the database and its tables are, with their indexes."""
    show(ask(sizes), _table, as_json=as_json)


def _table(found: Sizes) -> Table:
    rows = []
    for each in found.tables:
        parts = (each.heap_bytes, each.toast_bytes, each.index_bytes, each.total_bytes)
        rows.append((each.name, f"{each.rows:,}", *map(bytes_text, parts)))
    title = f"The database takes {bytes_text(found.database_bytes)}"
    return table_of(title, ("table", "#rows, about", "#heap", "#TOAST", "#indexes", "#all"), rows)
