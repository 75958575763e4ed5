"""`mercenary settings`: what is in force here, and who said so. Secrets stay hidden."""

import sys

import click
import msgspec
from rich.console import Console
from rich.table import Table

from mercenary.settings import FIELDS, load, masked, variable


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def command(as_json: bool) -> None:
    """Show the effective settings, where each came from, and the variable that sets it."""
    loaded = load()
    rows = [
        (name, masked(name, getattr(loaded.settings, name)), loaded.sources[name], variable(name))
        for name in FIELDS
    ]
    if as_json:
        table = {
            name: {"value": value, "source": source, "variable": sets}
            for name, value, source, sets in rows
        }
        click.echo(msgspec.json.format(msgspec.json.encode(table), indent=2).decode())
        return
    shown = Table("setting", "value", "from", "set by", title="Effective settings")
    shown.columns[1].overflow = "fold"
    for name, value, source, sets in rows:
        shown.add_row(name, value, source, sets, style="dim" if source == "default" else "")
    Console(width=None if sys.stdout.isatty() else 160).print(shown)
