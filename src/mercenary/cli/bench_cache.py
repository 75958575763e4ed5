"""`mercenary bench cache` and `mercenary bench stampede`: what the cache is worth, and tried."""

import sys
from pathlib import Path
from typing import Any

import click

from mercenary.bench import cache as cache_bench
from mercenary.bench import cache_report, load, moments
from mercenary.bench import stampede as stampede_bench
from mercenary.cli.measuring import measured


@click.command()
@click.option(
    "--seconds", type=click.IntRange(1, 600), default=5, show_default=True, help="Of each run."
)
@click.option(
    "--runs", type=click.IntRange(1, 100), default=3, show_default=True, help="Medians are shown."
)
@click.option(
    "--minute",
    type=click.IntRange(1, 3600),
    default=cache_bench.Options.minute,
    show_default=True,
    help="Seconds for which hits are counted.",
)
@click.option(
    "--requests",
    type=click.IntRange(100, 1_000_000),
    default=cache_bench.Options.requests,
    show_default=True,
    help="Of each round inside of a process.",
)
@click.option("--scale", default="1M", show_default=True, help="Projects: 1k, 100k, 1M.")
@click.option("--workers", type=click.IntRange(0, 512), default=0, help="One a core by default.")
@click.option(
    "--connections", type=click.IntRange(1, 10_000), default=load.CONNECTIONS, show_default=True
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result there.")
def cache(*, file: Path | None, **given: Any) -> None:
    """Measure how much the cache answers, and what an answer costs by where it was found.

    In some seven minutes, of which a million projects take three. Beside the bare callable and the
    same lookups through cashews; exit code 1 when fewer than 97% of the reads are hits, or hits in
    memory reach less than half of the bare callable.
    """
    options = cache_bench.Options(**given)
    report = measured(file, lambda say: cache_bench.measure(options, say))
    click.echo(cache_report.as_markdown(report))
    sys.exit(0 if report.met else 1)


@click.command()
@click.option(
    "--callers",
    type=click.IntRange(1, 10_000),
    default=stampede_bench.Options.callers,
    show_default=True,
    help="Who all want the same.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    default=stampede_bench.Options.rounds,
    show_default=True,
    help="Of each burst; medians are shown.",
)
@click.option(
    "--seconds",
    type=click.IntRange(1, 600),
    default=stampede_bench.Options.seconds,
    show_default=True,
    help="Of each phase of load.",
)
@click.option(
    "--share",
    type=click.FloatRange(0.01, 2),
    default=stampede_bench.Options.share,
    show_default=True,
    help="Of the capacity, when Valkey is flushed.",
)
@click.option("--scale", default="100k", show_default=True, help="Projects: 1k, 100k, 1M.")
@click.option("--workers", type=click.IntRange(1, 512), default=2, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result there.")
def stampede(*, file: Path | None, **given: Any) -> None:
    """Have a thousand callers want the same project as it changes or expires, and flush Valkey.

    In some two minutes, on a private stack; exit code 1 when the database is asked more than once
    for each key and process, somebody waits three times as long as normally, or the cache isn't
    back within ten seconds.
    """
    options = stampede_bench.Options(**given)
    report = measured(file, lambda say: stampede_bench.measure(options, say))
    click.echo(moments.as_markdown(report))
    sys.exit(0 if report.met else 1)
