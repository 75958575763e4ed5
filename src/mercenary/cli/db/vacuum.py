"""`mercenary db vacuum`: dead rows, statistics, the age of transaction ids."""

import sys
from datetime import datetime

import click
from rich.console import Group, RenderableType

from mercenary.cli.db.showing import as_json_option, ask, show, table_of
from mercenary.db.inspection.vacuum import TableVacuum, Vacuums, vacuums


@click.command()
@as_json_option
def command(as_json: bool) -> None:
    """Show dead rows and when autovacuum comes for them, per table.

    Exit code 1 when a table has more than twice the dead rows at which autovacuum comes, or ids as
    old as the limit: autovacuum can't keep up, is off, or something holds it back (`db long`).
    """
    found = ask(vacuums)
    show(found, _tables, as_json=as_json)
    sys.exit(1 if any(_is_late(each, found.xid_age_limit) for each in found.tables) else 0)


def _is_late(table: TableVacuum, xid_age_limit: int) -> bool:
    return table.dead_rows > 2 * table.dead_rows_limit or table.xid_age >= xid_age_limit


def _tables(found: Vacuums) -> RenderableType:
    rows = []
    for each in found.tables:
        color = "[red]" if _is_late(each, found.xid_age_limit) else ""
        rows.append(
            (
                f"{color}{each.name}",
                f"{each.rows:,}",
                f"{each.dead_rows:,}",
                f"{each.dead_rows_limit:,}",
                _moment(each.vacuumed_at),
                _moment(each.analyzed_at),
                f"{each.xid_age / found.xid_age_limit:.1%}",
            )
        )
    columns = ("table", "#rows, about", "#dead", "#limit", "vacuumed", "analyzed", "#xid age")
    shown: list[RenderableType] = [table_of("Vacuum", columns, rows)]
    if found.running:
        shown.append(
            table_of(
                "Under way",
                ("#pid", "table", "phase", "#read"),
                [(str(r.pid), r.table, r.phase, f"{r.done:.0%}") for r in found.running],
            )
        )
    return Group(*shown)


def _moment(at: datetime | None) -> str:
    return f"{at:%m-%d %H:%M:%S}" if at else "never"
