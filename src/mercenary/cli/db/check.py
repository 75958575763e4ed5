"""`mercenary db check`: whether what rows say of other rows is true."""

import sys
from collections.abc import Sequence

import click
from rich.table import Table

from mercenary.cli.db.showing import as_json_option, ask, show
from mercenary.db.invariants import Checked, check_all


@click.command()
@as_json_option
def command(as_json: bool) -> None:
    """Recount what is stored twice, and look for rows that name nobody.

    Tallies of proposals, names of clients, addresses; what foreign keys can't hold on a cluster.
    In short statements, beside everybody who writes. Exit code 0 when all is as it must be, 1 when
    something isn't, 2 when the database can't be asked.
    """
    checked = ask(check_all)
    show(checked, _table, as_json=as_json)
    if any(each.violations for each in checked):
        sys.exit(1)


def _table(checked: Sequence[Checked]) -> Table:
    table = Table("invariant", "what it says", "violations", "such as", "is stored", "is true")
    for each in checked:
        table.add_row(each.name, each.says, f"{each.violations:,}")
        for violation in each.sample:
            table.add_row("", "", "", violation.subject, violation.stored, violation.true)
    return table
