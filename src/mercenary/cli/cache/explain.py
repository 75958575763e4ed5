"""`mercenary cache explain`: why an address is answered from the cache, or isn't."""

import asyncio
import sys
from urllib.parse import urlsplit

import click
import msgspec
from rich.console import Console
from rich.table import Table

from mercenary.cache.caches import path_of
from mercenary.cache.clocks import EVERYTHING, Clocks
from mercenary.cache.entries import HEARD_SECONDS
from mercenary.cache.shelf import Shelf
from mercenary.cache.valkey import Valkey
from mercenary.cli.failures import CommandError
from mercenary.cli.spans import short, span
from mercenary.local.state import effective, read_state
from mercenary.ops.explaining import Clock, Explainer, Explanation, Stored
from mercenary.settings import Settings, load

# Nobody waits for this but a person.
VALKEY_SECONDS = 2.0


@click.command()
@click.argument("url")
@click.option("--token", help="An access token, to ask as somebody signed in.")
@click.option("--host", help="Where to ask, such as http://127.0.0.1:8000; else what runs here.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def command(url: str, token: str | None, host: str | None, as_json: bool) -> None:
    """Explain what the cache has to do with URL: a path with its query, or a whole address.

    Shows the key, the tags and their clocks and what Valkey has, asks the server, and says why it
    had to ask the database if it had to.
    """
    target, server = _split(url)
    settings = effective(load())
    server = host or server or _running(settings)
    explanation = asyncio.run(_explain(settings, target, token, server.rstrip("/")))
    if as_json:
        encoded = msgspec.json.encode(explanation)
        click.echo(msgspec.json.format(encoded, indent=2).decode())
    else:
        _print(explanation)


def _split(url: str) -> tuple[str, str]:
    """The target of a request, and the server that the address names, if it does."""
    parts = urlsplit(url)
    if not parts.path.startswith("/") or parts.scheme not in ("", "http", "https"):
        raise CommandError(f"{url!r} is no path such as /api/v1/projects, and no address of one")
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    return target, f"{parts.scheme}://{parts.netloc}" if parts.scheme else ""


def _running(settings: Settings) -> str:
    """Where the server of the data folder is, if it runs."""
    state = read_state(settings.data)
    return state.url if state is not None and state.runs else ""


async def _explain(settings: Settings, target: str, token: str | None, server: str) -> Explanation:
    # Late, so that --help stays quick: all the features.
    from mercenary.app import ENDPOINTS
    from mercenary.http.router import Router

    valkey = Valkey(settings.cache_config.default.cache_redis_url, seconds=VALKEY_SECONDS)
    try:
        clocks = Clocks(path_of(settings, settings.sqlalchemy_database_uri or ""), make=False)
    except FileNotFoundError:
        clocks = None
    router = Router(ENDPOINTS, settings.max_json_depth)
    shelf = Shelf(valkey)
    try:
        explainer = Explainer(settings, router, shelf, clocks)
        return await explainer.explain(target, token=token, server=server or None)
    finally:
        await shelf.close()
        await valkey.close()
        if clocks is not None:
            clocks.close()


def _print(found: Explanation) -> None:
    table = Table(show_header=False, title=found.target, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("endpoint", found.endpoint or "[red]none")
    table.add_row("asked as", found.caller)
    table.add_row("shared", "yes, as a guest gets it" if found.shared else "[yellow]never")
    if found.key is not None:
        table.add_row("key", found.key)
        table.add_row("in Valkey as", found.stored_as)
        table.add_row("tags", ", ".join(found.tags))
    if found.shared:
        _add_state(table, found)
    answered = found.answered
    if answered is None:
        table.add_row("the server", "not asked: none runs here; --host names one")
    elif answered.status:
        cache = f", X-Cache: {answered.x_cache}" if answered.x_cache else ""
        table.add_row("the server", f"{answered.status}{cache} ({answered.server})")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for line in found.why:
        console.print(f"[bold]→[/] {line}", highlight=False)


def _add_state(table: Table, found: Explanation) -> None:
    for clock in found.clocks or ():
        name = "everything" if clock.tag == EVERYTHING else clock.tag
        table.add_row(f"clock of {name}", _clock(clock))
    if found.clocks is None:
        table.add_row("clocks", "none: no worker has run on this host")
    elif found.word_age is None or found.word_age > HEARD_SECONDS:
        age = "never heard" if found.word_age is None else f"{span(found.word_age)} old"
        table.add_row("the relay's word", f"[red]{age}")
    else:
        table.add_row("the relay's word", f"[green]{short(found.word_age)} old")
    table.add_row(
        "Valkey", "[red]doesn't answer" if found.valkey is None else _valkey(found.valkey)
    )


def _clock(clock: Clock) -> str:
    if clock.being_written:
        return "[yellow]is being written"
    if clock.moved is None:
        return "never moved"
    announced = "" if clock.announced else ", [yellow]not announced yet[/]"
    return f"moved {span(clock.moved)} ago{announced}"


def _valkey(stored: Stored) -> str:
    if not stored.there or stored.age is None or stored.cost is None:
        return "nothing" + (", and somebody is filling it" if stored.leased else "")
    counts = "[green]counts[/]" if stored.against is None else "[yellow]doesn't count[/]"
    left = "no end" if stored.left is None else f"{span(stored.left)} left"
    return (
        f"{stored.size:,} bytes, filled {span(stored.age)} ago in {short(stored.cost)}, {left};"
        f" {counts}"
    )
