"""`mercenary db`: the database, looked into by whoever is on call for it.

Add a command as a file here that exports `command`, and a line in `COMMANDS`.
"""

from typing import Final

import click

from mercenary.cli.lazy import LazyGroup

COMMANDS: Final = {
    "sizes": ("mercenary.cli.db.sizes", "Show what takes how much room."),
}


@click.group(cls=LazyGroup, commands_by_name=COMMANDS)
def command() -> None:
    """See into the database: plans, statistics, locks, sizes."""
