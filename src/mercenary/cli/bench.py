"""`mercenary bench`: measure, compare with yardsticks, and judge by the guide's floors."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from mercenary.bench import api as api_bench
from mercenary.bench import connections as connections_bench
from mercenary.bench import counts as counts_bench
from mercenary.bench import limits as limits_bench
from mercenary.bench import lists as lists_bench
from mercenary.bench import load, show, storm, zipf
from mercenary.bench import overload as overload_bench
from mercenary.bench import relay as relay_bench
from mercenary.bench import stats as stats_bench
from mercenary.bench.generator import GENERATORS
from mercenary.cli import bench_cache, bench_db, bench_scale
from mercenary.cli.failures import CommandError
from mercenary.cli.measuring import last_line, measured
from mercenary.local.children import ChildError
from mercenary.local.stack import StackError

# Wide enough for the figures where the output isn't a terminal.
_COLUMNS = 180


@click.group()
def command() -> None:
    """Measure this product on this machine, beside yardsticks, against the guide's figures.

    Exit code 0 when every floor of the guide is met, 1 when one is missed, 2 when nothing could be
    measured.
    """


@command.command()
@click.option(
    "--seconds", type=click.IntRange(1, 600), default=5, show_default=True, help="Of each run."
)
@click.option(
    "--runs", type=click.IntRange(1, 100), default=3, show_default=True, help="Medians are shown."
)
@click.option(
    "--scale", default="100k", show_default=True, help="Projects in a private stack: 1k, 100k, 1M."
)
@click.option(
    "--workers", type=click.IntRange(1, 512), help="Of each contender; one a core by default."
)
@click.option(
    "--connections", type=click.IntRange(1, 10_000), default=load.CONNECTIONS, show_default=True
)
@click.option(
    "--zipf",
    "exponent",
    type=click.FloatRange(0, 3),
    default=zipf.EXPONENT,
    show_default=True,
    help="How unevenly projects are asked for; 0 asks for all alike.",
)
@click.option(
    "--generator",
    type=click.Choice(GENERATORS),
    help="By default wrk where it is on PATH.",
)
@click.option(
    "--url", help="A stack that runs already. It is written to; the private one is thrown away."
)
@click.option(
    "--tokens",
    type=click.Path(path_type=Path),
    help="Access tokens for --url, as `mercenary token --count` writes them.",
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result there.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for docs/figures.md.")
def api(*, file: Path | None, markdown: bool, workers: int | None, **given: Any) -> None:
    """Measure listing users, getting a project and posting one over HTTP.

    And what a cache is told to leave alone. In about five minutes, beside a bare ASGI callable and
    a plain FastAPI + SQLAlchemy ORM application on the same server, machine and data.
    """
    options = api_bench.Options(workers=workers or 0, **given)
    if options.tokens is not None and options.url is None:
        raise CommandError("--tokens belongs to --url; a private stack has tokens of its own")
    report = measured(file, lambda say: api_bench.measure(options, say))
    if markdown:
        click.echo(show.as_markdown(report))
    else:
        show.on_terminal(report, Console(width=None if sys.stdout.isatty() else _COLUMNS))
    sys.exit(0 if report.met else 1)


@command.command()
@click.option(
    "--connections",
    type=click.IntRange(1, 100_000),
    default=connections_bench.CONNECTIONS,
    show_default=True,
)
@click.option(
    "--seconds",
    type=click.IntRange(1, 600),
    default=30,
    show_default=True,
    help="How long all of them are open.",
)
@click.option(
    "--workers", type=click.IntRange(1, 512), default=2, show_default=True, help="Of the API."
)
@click.option("--scale", default="100k", show_default=True, help="Projects in the private stack.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result there.")
def connections(*, file: Path | None, **given: Any) -> None:
    """Hold thousands of connections open at once, each asking every 5 to 15 seconds.

    In about a minute and a half, on a private stack: all open, a tenth as many requests a second,
    95% of them within 100 ms, no error, and no more memory than the guide's share for it.
    """
    report = measured(
        file, lambda say: connections_bench.measure(connections_bench.Options(**given), say)
    )
    for line in connections_bench.lines(report):
        click.echo(line)
    sys.exit(0 if report.met else 1)


@command.command()
@click.option(
    "--seconds", type=click.IntRange(1, 600), default=10, show_default=True, help="Of each step."
)
@click.option("--scale", default="100k", show_default=True, help="Projects: 1k, 100k, 1M.")
@click.option("--workers", type=click.IntRange(1, 512), default=1, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result there.")
def overload(*, file: Path | None, **given: Any) -> None:
    """Drive a private stack at up to ten times its capacity, and see whom it serves.

    In some three minutes; exit code 1 when goodput falls, the served or the refused wait too long,
    or all isn't normal within ten seconds after the storm.
    """
    options = overload_bench.Options(**given)
    report = measured(file, lambda say: overload_bench.measure(options, say))
    click.echo(storm.as_markdown(report))
    sys.exit(0 if report.met else 1)


@command.command()
@click.option(
    "--requests",
    type=click.IntRange(1, 60_000),
    default=limits_bench.REQUESTS,
    show_default=True,
    help="Of each round.",
)
def limits(requests: int) -> None:
    """Measure what counting a request against its caller's limits costs, in some ten seconds."""
    try:
        rows = limits_bench.measure(requests)
    except ChildError as error:
        raise CommandError(last_line(error)) from error
    click.echo(limits_bench.as_markdown(rows))
    sys.exit(0 if limits_bench.met(rows) else 1)


@command.command()
@click.option(
    "--runs",
    type=click.IntRange(1, 1000),
    default=lists_bench.Options.runs,
    show_default=True,
    help="Page 1 and page 10,000 in turn; medians are shown.",
)
@click.option(
    "--asks",
    type=click.IntRange(1, 1000),
    default=lists_bench.Options.asks,
    show_default=True,
    help="Pages of each kind in a run.",
)
@click.option(
    "--scale",
    default=lists_bench.Options.scale,
    show_default=True,
    help="Projects in a private stack: 1k, 100k, 1M.",
)
@click.option("--database", help="The URI of a seeded database instead. It is only read.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result there.")
def lists(*, file: Path | None, **given: Any) -> None:
    """Measure page 10,000 by cursor beside page 1, for every list and sort.

    In about six minutes, most of which go by until a million projects are seeded. The deep page
    may take 1.2 times as long.
    """
    report = measured(file, lambda say: lists_bench.measure(lists_bench.Options(**given), say))
    for line in lists_bench.lines(report):
        click.echo(line)
    sys.exit(0 if report.met else 1)


@command.command()
@click.option(
    "--rows",
    type=click.IntRange(100, 10_000_000),
    default=relay_bench.ROWS,
    show_default=True,
    help="Of each run.",
)
@click.option("--runs", type=click.IntRange(1, 100), default=relay_bench.RUNS, show_default=True)
def relay(rows: int, runs: int) -> None:
    """Measure how fast changes are handed on, and what telling of them costs a write.

    On a PostgreSQL and a Valkey of its own, in about a minute.
    """
    try:
        result = relay_bench.measure(rows, runs)
    except ChildError as error:
        raise CommandError(last_line(error)) from error
    click.echo(relay_bench.as_markdown(result))
    sys.exit(0 if result.met else 1)


@command.command()
@click.option(
    "--runs",
    type=click.IntRange(1, 1000),
    default=counts_bench.Options.runs,
    show_default=True,
    help="How many times each is counted; medians are shown.",
)
@click.option(
    "--scale",
    default=counts_bench.Options.scale,
    show_default=True,
    help="Projects in a private stack: 1k, 100k, 1M.",
)
@click.option("--database", help="The URI of a seeded database instead. It is only read.")
def counts(**given: Any) -> None:
    """Measure totals and facets of lists, counted by the database and kept in memory.

    In about five minutes, most of which go by until a million projects are seeded. Exit code 1 when
    one takes longer than a statement may, or what is kept more than a millisecond.
    """
    try:
        options = counts_bench.Options(**given)
        rows = counts_bench.measure(options, lambda line: click.echo(line, err=True))
    except (StackError, ChildError) as error:
        raise CommandError(last_line(error)) from error
    click.echo(counts_bench.as_markdown(rows))
    sys.exit(0 if counts_bench.met(rows) else 1)


@command.command()
@click.option(
    "--runs",
    type=click.IntRange(1, 100),
    default=stats_bench.Options.runs,
    show_default=True,
    help="Refreshes; medians are shown.",
)
@click.option(
    "--asks",
    type=click.IntRange(1, 100_000),
    default=stats_bench.Options.asks,
    show_default=True,
    help="Reads of each kind before each of them.",
)
@click.option(
    "--scale",
    default=stats_bench.Options.scale,
    show_default=True,
    help="Projects in a private stack: 1k, 100k, 1M.",
)
@click.option("--database", help="The URI of a seeded database instead. It is refreshed.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result there.")
def stats(*, file: Path | None, **given: Any) -> None:
    """Measure a refresh of the statistics, and their readers beside it.

    In about eight minutes, half of which go by until a million projects are seeded. Readers may
    take three times as long as alone.
    """
    report = measured(file, lambda say: stats_bench.measure(stats_bench.Options(**given), say))
    for line in stats_bench.lines(report):
        click.echo(line)


command.add_command(bench_cache.cache)
command.add_command(bench_cache.stampede)
command.add_command(bench_db.db)
command.add_command(bench_scale.scale)
