"""`mercenary cache`: see, warm, empty and explain what is kept of answers."""

import click

from mercenary.cli.cache.explain import command as explain
from mercenary.cli.cache.purge import command as purge
from mercenary.cli.cache.stats import command as stats
from mercenary.cli.cache.warm import command as warm


@click.group()
def command() -> None:
    """See, warm, empty and explain what is kept of answers."""


command.add_command(stats, "stats")
command.add_command(warm, "warm")
command.add_command(purge, "purge")
command.add_command(explain, "explain")
