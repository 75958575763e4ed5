"""How the commands of `mercenary bench` measure: each step is told, and the result written."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import click

from mercenary.cli.failures import CommandError
from mercenary.local.children import ChildError, Halted
from mercenary.local.stack import StackError

Say = Callable[[str], None]


class _Written(Protocol):
    def to_json(self) -> bytes: ...


Result = TypeVar("Result", bound=_Written)


def measured(file: Path | None, measure: Callable[[Say], Result]) -> Result:
    """Measure, telling each step on standard error, and write the result where it is wanted."""
    if file is not None and not file.absolute().parent.is_dir():
        raise CommandError(f"{file.absolute().parent} is no folder; give --json another place")
    try:
        report = measure(lambda line: click.echo(line, err=True))
    except (StackError, ChildError) as error:
        raise CommandError(last_line(error)) from error
    except (Halted, KeyboardInterrupt):
        click.echo("mercenary: stopped; nothing was left running", err=True)
        sys.exit(130)
    if file is not None:
        try:
            file.write_bytes(report.to_json())
        except OSError as error:
            raise CommandError(f"{file} can't be written: {error.strerror}") from error
    return report


def last_line(error: Exception) -> str:
    """What a server said at last, for a line of our own."""
    if isinstance(error, ChildError):
        return f"{error}: {error.reason}"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("mercenary: ") if lines else "the private stack didn't start"
