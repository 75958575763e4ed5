"""`mercenary status`: what runs where, since when, whether it answers, and how far standbys are."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec
from rich.console import Console
from rich.table import Table

from mercenary.cli.failures import CommandError
from mercenary.cli.spans import short, span
from mercenary.local.state import PRIMARY, STANDBY, Service, State, read_state
from mercenary.settings import load, masked

if TYPE_CHECKING:
    from mercenary.db.inspection.replication import Follower

PATIENCE: Final = 2.0


class Row(msgspec.Struct, kw_only=True):
    """One service. `uptime` is in seconds, None while it is down.

    `follows` says of a standby whether it takes the primary's log, None where the primary can't be
    asked; the lag is what it hasn't replayed, in bytes of log, and in seconds since it was written.
    """

    name: str
    role: str = ""
    pid: int | None
    uptime: float | None
    restarts: int = 0
    answers: bool
    follows: bool | None = None
    lag_bytes: int | None = None
    lag_seconds: float | None = None
    address: str = ""

    @property
    def well(self) -> bool:
        """Whether it is as it should be."""
        return self.answers and self.follows is not False


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="The data folder of `mercenary up`.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def command(data: Path | None, as_json: bool) -> None:
    """Show what runs where. Exit code 0 when all of it runs and answers, 1 when not.

    A standby is well while it follows the primary, however far behind it is.
    """
    folder = (data or load().settings.data).resolve()
    state = read_state(folder)
    rows = _rows(state) if state is not None else []
    well = bool(rows) and all(row.well for row in rows)
    if as_json:
        answer = {"data": str(folder), "well": well, "services": rows}
        click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    elif not rows:
        click.echo(f"Nothing runs on {folder}; `mercenary up` starts it.")
    else:
        _print(rows)
    sys.exit(0 if well else 1)


def _rows(state: State) -> Sequence[Row]:
    now = time.time()
    supervisor = Row(
        name="supervisor",
        pid=state.supervisor.pid if state.runs else None,
        uptime=now - state.started if state.runs else None,
        answers=state.runs,
    )
    rows = [supervisor, *(_row(state, service, now) for service in state.services)]
    followers = _followers(state, rows)
    for row in rows:
        if followers is not None and row.role == STANDBY:
            found = followers.get(row.name)
            row.follows = found is not None
            row.lag_bytes = found.lag_bytes if found else None
            row.lag_seconds = found.lag_seconds if found else None
    return rows


def _row(state: State, service: Service, now: float) -> Row:
    runs = service.runs and service.mark is not None
    return Row(
        name=service.name,
        role=state.role(service),
        pid=service.mark.pid if runs and service.mark else None,
        uptime=now - service.started if runs else None,
        restarts=service.restarts,
        answers=service.answers(),
        address=masked("address", service.address) + (" (yours)" if service.mine else ""),
    )


def _followers(state: State, rows: Sequence[Row]) -> "Mapping[str, Follower] | None":
    """Who follows the primary, by name; None where nobody is to, or it doesn't answer."""
    answering = {row.name for row in rows if row.role == PRIMARY and row.answers}
    primary = next((each for each in state.services if each.name in answering), None)
    if primary is None or not any(row.role == STANDBY for row in rows):
        return None
    from mercenary.cli.db.showing import ask  # late: most stacks have no standbys
    from mercenary.db.inspection.replication import replication

    try:
        found = ask(replication, seconds=PATIENCE, uri=primary.address)
    except CommandError:
        return None
    return {each.name: each for each in found.followers}


def _print(rows: Sequence[Row]) -> None:
    standbys = any(row.role == STANDBY for row in rows)
    headings = [
        "what",
        "pid",
        "up",
        "restarts",
        "state",
        *(["behind"] if standbys else []),
        "where",
    ]
    table = Table(*headings)
    table.columns[-1].overflow = "fold"
    for row in rows:
        table.add_row(
            f"{row.name} ({row.role})" if row.role else row.name,
            str(row.pid or "-"),
            span(row.uptime) if row.uptime is not None else "-",
            str(row.restarts),
            _state(row),
            *([_behind(row)] if standbys else []),
            row.address,
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _state(row: Row) -> str:
    if row.follows is False and row.answers:
        return "[red]doesn't follow"
    if row.answers:
        return "[green]answers"
    return "[red]does not answer" if row.pid else "[red]down"


def _behind(row: Row) -> str:
    if row.lag_bytes is None or row.lag_seconds is None:
        return ""
    from mercenary.cli.db.showing import bytes_text  # late, as above

    return f"{bytes_text(row.lag_bytes)}, {short(row.lag_seconds)}" if row.lag_bytes else "nothing"
