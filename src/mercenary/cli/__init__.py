"""The command line. A command's module is imported when the command is called, and not before.

Add a command as a file here that exports `command`, and a line in `COMMANDS`.
"""

from typing import Final

import click

from mercenary.cli.failures import as_command_error
from mercenary.cli.lazy import LazyGroup

# Name → module, and the line that `mercenary --help` shows without importing it.
COMMANDS: Final = {
    "up": ("mercenary.cli.up", "Run everything: PostgreSQL, Valkey, migrations, the API."),
    "status": ("mercenary.cli.status", "Show what runs where, and whether it answers."),
    "settings": ("mercenary.cli.settings", "Show the effective settings and their sources."),
    "serve": ("mercenary.cli.serve", "Run the API alone, on servers that are already there."),
    "migrate": ("mercenary.cli.migrate", "Bring the database's schema up to date."),
    "relay": ("mercenary.cli.relay", "Hand on what has changed: to caches, and whoever must act."),
    "cache": ("mercenary.cli.cache", "See, warm, empty and explain what is kept of answers."),
    "db": ("mercenary.cli.db", "See into the database: plans, statistics, locks, sizes."),
    "clean": ("mercenary.cli.clean", "Remove what is over: sessions, keys, closed accounts."),
    "seed": ("mercenary.cli.seed", "Fill the database with a believable marketplace."),
    "token": ("mercenary.cli.token", "Mint access tokens for tools."),
    "admin": ("mercenary.cli.admin", "Make an administrator, or end it."),
    "bench": ("mercenary.cli.bench", "Measure the API against the guide's figures."),
}


class Main(LazyGroup):
    """The outermost group, in which a failure becomes a line."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; what its caller can mend ends in one line and exit code 2."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            failure = as_command_error(error)
            if failure is None:
                raise
            raise failure from error


@click.group(
    cls=Main, commands_by_name=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="mercenary", message="%(prog)s %(version)s")
def main() -> None:
    """Mercenary: the backend of a freelance marketplace, measured on your own machine."""
