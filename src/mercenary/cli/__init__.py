"""The command line. A command's module is imported when the command is called, and not before.

Add a command as a file here that exports `command`, and a line in `COMMANDS`.
"""

import importlib
from typing import Final

import click

from mercenary.cli.failures import as_command_error

# Name → module, and the line that `mercenary --help` shows without importing it.
COMMANDS: Final = {
    "up": ("mercenary.cli.up", "Run everything: PostgreSQL, Valkey, migrations, the API."),
    "status": ("mercenary.cli.status", "Show what runs where, and whether it answers."),
    "settings": ("mercenary.cli.settings", "Show the effective settings and their sources."),
    "serve": ("mercenary.cli.serve", "Run the API alone, on servers that are already there."),
    "migrate": ("mercenary.cli.migrate", "Bring the database's schema up to date."),
    "relay": ("mercenary.cli.relay", "Hand on what has changed: to caches, and whoever must act."),
    "cache": ("mercenary.cli.cache", "See, warm, empty and explain what is kept of answers."),
    "clean": ("mercenary.cli.clean", "Remove what is over: sessions, keys, closed accounts."),
    "seed": ("mercenary.cli.seed", "Fill the database with a believable marketplace."),
    "token": ("mercenary.cli.token", "Mint access tokens for tools."),
    "admin": ("mercenary.cli.admin", "Make an administrator, or end it."),
    "bench": ("mercenary.cli.bench", "Measure the API against the guide's figures."),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names, in the order of `COMMANDS`: the first is what a newcomer needs."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]}.command is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the registry alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; what its caller can mend ends in one line and exit code 2."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            failure = as_command_error(error)
            if failure is None:
                raise
            raise failure from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mercenary", message="%(prog)s %(version)s")
def main() -> None:
    """Mercenary: the backend of a freelance marketplace, measured on your own machine."""
