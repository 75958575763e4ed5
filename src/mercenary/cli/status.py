"""`mercenary status`: what runs where, since when, and whether it answers."""

import sys
import time
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from mercenary.cli.spans import span
from mercenary.local.state import State, read_state
from mercenary.settings import load, masked


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="The data folder of `mercenary up`.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def command(data: Path | None, as_json: bool) -> None:
    """Show what runs where. Exit code 0 when all of it runs and answers, 1 when not."""
    folder = (data or load().settings.data).resolve()
    state = read_state(folder)
    rows = _rows(state) if state is not None else []
    well = bool(rows) and all(row["answers"] for row in rows)
    if as_json:
        answer = {"data": str(folder), "well": well, "services": rows}
        click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    elif not rows:
        click.echo(f"Nothing runs on {folder}; `mercenary up` starts it.")
    else:
        _print(rows)
    sys.exit(0 if well else 1)


def _rows(state: State) -> list[dict[str, object]]:
    now = time.time()
    rows: list[dict[str, object]] = [
        {
            "name": "supervisor",
            "role": "",
            "pid": state.supervisor.pid if state.runs else None,
            "uptime": now - state.started if state.runs else None,
            "restarts": 0,
            "answers": state.runs,
            "address": "",
        }
    ]
    for service in state.services:
        runs = service.runs and service.mark is not None
        rows.append(
            {
                "name": service.name,
                "role": state.role(service),
                "pid": service.mark.pid if runs and service.mark else None,
                "uptime": now - service.started if runs else None,
                "restarts": service.restarts,
                "answers": service.answers(),
                "address": masked("address", service.address)
                + (" (yours)" if service.mine else ""),
            }
        )
    return rows


def _print(rows: list[dict[str, object]]) -> None:
    table = Table("what", "pid", "up", "restarts", "state", "where")
    table.columns[5].overflow = "fold"
    for row in rows:
        state = "answers" if row["answers"] else "does not answer" if row["pid"] else "down"
        uptime = row["uptime"]
        table.add_row(
            f"{row['name']} ({row['role']})" if row["role"] else str(row["name"]),
            str(row["pid"] or "-"),
            span(uptime) if isinstance(uptime, float) else "-",
            str(row["restarts"]),
            f"[green]{state}" if row["answers"] else f"[red]{state}",
            str(row["address"]),
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)
