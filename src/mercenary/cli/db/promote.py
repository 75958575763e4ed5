"""`mercenary db promote`: another server takes the writes."""

import click

from mercenary.cli.failures import CommandError
from mercenary.local.children import wait_until
from mercenary.local.state import read_state, request_promotion
from mercenary.settings import SetupError, load

WITHIN = 60.0


@click.command()
@click.argument("name", default="")
def command(name: str) -> None:
    """Make a standby of `mercenary up` the primary: NAME, or the one that has most of the log.

    The former primary is stopped first, and comes back as a standby.
    """
    folder = load().settings.data.resolve()
    state = read_state(folder)
    if state is None or not state.runs:
        raise SetupError(f"nothing runs on {folder}; start `mercenary up --replicas 1`")
    standbys = [
        each.name for each in state.services if each.is_postgres and each.name != state.primary
    ]
    if not standbys or (name and name not in standbys):
        raise SetupError(f"no such standby; there are: {', '.join(standbys) or 'none'}")
    former = state.primary
    request_promotion(folder, name)

    def changed() -> bool:
        now = read_state(folder)
        return now is not None and now.primary != former

    if not wait_until(changed, WITHIN):
        raise CommandError(f"{former} is the primary still; `mercenary up` has said why")
    now = read_state(folder)
    click.echo(f"{now.primary if now else name} is the primary now.")
