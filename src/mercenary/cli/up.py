"""`mercenary up`: everything, on this machine, until Ctrl-C."""

import contextlib
from pathlib import Path
from typing import Final

import click
import msgspec

from mercenary.local.supervisor import Supervisor
from mercenary.settings import Loaded, load

# Those of `mercenary seed`, whose module takes half a second to import, and none.
SCALES: Final = ("1k", "10k", "100k", "1M", "10M", "none")


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), help="The API's port; 0 finds a free one.")
@click.option("--data", type=click.Path(path_type=Path), help="The folder for data and logs.")
@click.option("--workers", type=click.IntRange(1, 512), help="Processes, one a core by default.")
@click.option("--replicas", type=click.IntRange(0, 16), help="Standbys beside the database.")
@click.option(
    "--synchronous",
    "synchronous_replicas",
    type=click.IntRange(0, 16),
    help="So many standbys hold each commit before it is acknowledged.",
)
@click.option("--seed", type=click.Choice(SCALES), help="Projects for an empty database.")
@click.option("--fresh", is_flag=True, help="Empty the data folder first.")
@click.option("--tied", is_flag=True, hidden=True, help="Stop when standard input ends.")
def command(
    port: int | None,
    data: Path | None,
    workers: int | None,
    replicas: int | None,
    synchronous_replicas: int | None,
    seed: str | None,
    fresh: bool,
    tied: bool,
) -> None:
    """Run PostgreSQL, Valkey, migrations, demo data and the API, until Ctrl-C.

    A server that a setting names (SQLALCHEMY_DATABASE_URI, CACHE_CONFIG) is used in place of ours.
    """
    given = {
        "port": port,
        "data": data,
        "workers": workers,
        "replicas": replicas,
        "synchronous_replicas": synchronous_replicas,
    }
    loaded = _with_options(
        load(), {name: value for name, value in given.items() if value is not None}
    )
    supervisor = Supervisor(loaded, _say, _greet, seed=seed, fresh=fresh, tied=tied)
    try:
        supervisor.run()
    finally:
        _forget_shared_memory(supervisor)


def _forget_shared_memory(supervisor: Supervisor) -> None:
    """Remove what the processes of a stack have shared, once none is left, if nobody else could."""
    uri = supervisor.own_database_uri
    if uri is not None and supervisor.loaded.settings.shared_memory is None:
        from mercenary.cache.clocks import path_for  # late: the servers start first

        path_for(uri).unlink(missing_ok=True)


def _say(line: str) -> None:
    # The terminal may be gone; the servers still have to be stopped in order.
    with contextlib.suppress(OSError):
        click.echo(line)


def _with_options(loaded: Loaded, given: dict[str, object]) -> Loaded:
    settings = msgspec.structs.replace(loaded.settings, **given)
    return Loaded(settings, {**loaded.sources, **{name: f"--{name}" for name in given}})


def _greet(supervisor: Supervisor) -> None:
    url = supervisor.url
    lines = [
        "",
        f"  API     {url}/api/v1",
        f"  Docs    {url}/docs",
        f"  Data    {supervisor.folder.path}, logs in {supervisor.folder.logs}",
    ]
    if supervisor.folder.moved:
        lines.append(
            f"          and {supervisor.folder.servers}: its servers can't enter the former"
        )
    if supervisor.has_demo:
        lines += _logins()
    lines += [
        "",
        f"  Try     curl -s '{url}/api/v1/projects?limit=2'",
        "",
        "Ctrl-C stops all of it.",
    ]
    _say("\n".join(lines))


def _logins() -> list[str]:
    from mercenary.seeding.demo import DEMO_ACCOUNTS  # late: the servers start first

    return [
        "",
        "  Log in  as one of these (development only)",
        *(f"          {one.role:<11} {one.email:<36} {one.password}" for one in DEMO_ACCOUNTS),
    ]
