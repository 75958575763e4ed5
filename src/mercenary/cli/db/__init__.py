"""`mercenary db`: the database, looked into by whoever is on call for it.

Add a command as a file here that exports `command`, and a line in `COMMANDS`.
"""

from typing import Final

import click

from mercenary.cli.lazy import LazyGroup

COMMANDS: Final = {
    "explain": ("mercenary.cli.db.explain", "Show what the database does for a request."),
    "stats": ("mercenary.cli.db.stats", "Show what the database is asked most."),
    "locks": ("mercenary.cli.db.locks", "Show who waits for whom."),
    "long": ("mercenary.cli.db.long", "Show transactions that have been open for long."),
    "indexes": ("mercenary.cli.db.indexes", "Show indexes that are missing, unused or double."),
    "vacuum": ("mercenary.cli.db.vacuum", "Show dead rows and when vacuum comes for them."),
    "bloat": ("mercenary.cli.db.bloat", "Show room that holds nothing."),
    "sizes": ("mercenary.cli.db.sizes", "Show what takes how much room."),
    "check": ("mercenary.cli.db.check", "Recount what is stored twice, look for rows of nobody."),
    "pool": ("mercenary.cli.db.pool", "Show who is connected to the server."),
    "backup": ("mercenary.cli.db.backup", "Back the database up."),
    "verify": ("mercenary.cli.db.verify", "Prove that a backup can be restored."),
    "restore": ("mercenary.cli.db.restore", "Restore a backup into a new database."),
    "replicas": ("mercenary.cli.db.replicas", "Show how far replicas are."),
    "promote": ("mercenary.cli.db.promote", "Make a standby the primary."),
    "distribute": ("mercenary.cli.db.distribute", "Spread the tables over a Citus cluster."),
}


@click.group(cls=LazyGroup, commands_by_name=COMMANDS)
def command() -> None:
    """See into the database: plans, statistics, locks, sizes."""
