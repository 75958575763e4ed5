"""`mercenary db bloat`: room that holds nothing."""

import click
from rich.console import Group, RenderableType

from mercenary.cli.db.showing import as_json_option, ask, bytes_text, show, table_of
from mercenary.db.inspection.bloat import Bloat, bloat

MINUTES = 600.0


@click.command()
@click.option("--all", "all_", is_flag=True, help="Also what has less than 1 MiB of empty room.")
@as_json_option
def command(all_: bool, as_json: bool) -> None:
    """Show how much room of tables and indexes holds nothing.

    Some is as it should be: it takes the next rows. Where it is more than half and doesn't shrink,
    REINDEX INDEX CONCURRENTLY gives an index's back, and pg_repack or VACUUM FULL (which locks the
    table) a table's.
    """
    found = ask(bloat, seconds=MINUTES)
    show(found, lambda each: _table(each, least=0 if all_ else 1 << 20), as_json=as_json)


def _table(found: Bloat, least: int) -> RenderableType:
    rows = []
    for each in found.found:
        if each.empty_bytes >= least:
            share = f"[red]{each.share:.0%}" if each.share > 1 / 2 else f"{each.share:.0%}"
            sizes = (bytes_text(each.bytes), bytes_text(each.empty_bytes))
            rows.append((each.name, each.kind, *sizes, share))
    table = table_of("Empty room", ("what", "kind", "#size", "#empty", "#share"), rows)
    if found.measured:
        return table
    hint = (
        "Estimated by the planner's statistics. To have the pages read, a superuser says CREATE "
        "EXTENSION pgstattuple (Debian has it in postgresql-contrib)."
    )
    return Group(table, hint)
