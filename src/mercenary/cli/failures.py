"""How a command says that it can't: one line on standard error, and exit code 2.

Raise `CommandError` in a command, or let a `SetupError` of the layers below pass through.
"""

import sys
from typing import IO, Any

import click


class CommandError(click.ClickException):
    """What is wrong; what to do. No traceback follows, since the caller can mend it."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line, to standard error by default."""
        click.echo(f"mercenary: {self.format_message()}", file=file or sys.stderr)


def as_command_error(error: Exception) -> CommandError | None:
    """The line for a fault that the caller can mend; None for a fault of the program."""
    from mercenary.settings import SetupError  # late, so that --help stays quick

    if isinstance(error, SetupError):
        return CommandError(" ".join(str(error).split()))
    return None
