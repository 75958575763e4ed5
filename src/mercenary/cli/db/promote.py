"""`mercenary db promote`: another server takes the writes."""

from pathlib import Path

import click

from mercenary.cli.failures import CommandError
from mercenary.local.children import ChildError, wait_until
from mercenary.local.rest import promote_at_rest
from mercenary.local.state import State, read_state, request_promotion
from mercenary.settings import SetupError, load

WITHIN = 60.0


@click.command()
@click.argument("name", default="")
def command(name: str) -> None:
    """Make a standby of `mercenary up` the primary: NAME, or the one that has most of the log.

    The former primary is stopped first, and comes back as a standby. Where nothing runs, the next
    `mercenary up` starts with the new one; that helps when the primary has lost its files.
    """
    folder = load().settings.data.resolve()
    state = read_state(folder)
    if state is None or not state.runs:
        try:
            promoted = promote_at_rest(folder, name or None, click.echo)
        except ChildError as error:
            raise CommandError(str(error)) from error
        click.echo(f"{promoted} is the primary now; the next `mercenary up` starts with it.")
    else:
        click.echo(f"{_ask_for(folder, state, name)} is the primary now.")


def _ask_for(folder: Path, state: State, name: str) -> str:
    """Have the running stack promote a standby; the name of the primary that it has then."""
    standbys = [
        each.name for each in state.services if each.is_postgres and each.name != state.primary
    ]
    if not standbys or (name and name not in standbys):
        raise SetupError(f"no such standby; there are: {', '.join(standbys) or 'none'}")
    request_promotion(folder, name)
    now = state

    def answered() -> bool:
        nonlocal now
        now = read_state(folder) or now
        return now.promotions > state.promotions

    if not wait_until(answered, WITHIN):
        raise CommandError(f"{state.primary} is the primary still, and `mercenary up` is busy")
    if now.refusal:
        raise CommandError(now.refusal)
    return now.primary
