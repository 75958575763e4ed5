"""`mercenary bench scale`: the figures of the API and the database as the marketplace grows."""

import sys
from pathlib import Path
from typing import Any

import click

from mercenary.bench import growth, growth_chart, load
from mercenary.bench import scale as scale_bench
from mercenary.bench.generator import GENERATORS
from mercenary.bench.verdicts import Judged
from mercenary.cli.failures import CommandError
from mercenary.cli.measuring import measured
from mercenary.seeding.seed import SCALES


def _sizes(_context: click.Context, _option: click.Parameter, given: str) -> tuple[str, ...]:
    """Scales with commas between them, in the order of their sizes, each once."""
    return _listed(given, tuple(SCALES), least=2)


def _work(_context: click.Context, _option: click.Parameter, given: str) -> tuple[str, ...]:
    """Kinds of work with commas between them, in the order in which they are done."""
    return _listed(given, scale_bench.WORK, least=1)


def _listed(given: str, known: tuple[str, ...], *, least: int) -> tuple[str, ...]:
    named = {name.strip() for name in given.split(",")}
    if unknown := sorted(named - set(known)):
        raise click.BadParameter(f"{', '.join(unknown)}: it takes some of {', '.join(known)}")
    if len(named) < least:
        raise click.BadParameter(f"give at least {least} of {', '.join(known)}")
    return tuple(name for name in known if name in named)


@click.command()
@click.option(
    "--sizes",
    default=",".join(scale_bench.SIZES),
    show_default=True,
    callback=_sizes,
    help="Projects, with commas between them; the smallest is what others are compared with.",
)
@click.option(
    "--work",
    default=",".join(scale_bench.WORK),
    show_default="all",
    callback=_work,
    help="Some of the rows of `bench api` and `bench db`, with commas between them.",
)
@click.option(
    "--seconds",
    type=click.IntRange(1, 600),
    default=scale_bench.Options.seconds,
    show_default=True,
    help="Of each run.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 100),
    default=scale_bench.Options.runs,
    show_default=True,
    help="Medians are shown.",
)
@click.option("--workers", type=click.IntRange(0, 512), default=0, help="One a core by default.")
@click.option(
    "--connections", type=click.IntRange(1, 10_000), default=load.CONNECTIONS, show_default=True
)
@click.option("--generator", type=click.Choice(GENERATORS), help="By default wrk, if on PATH.")
@click.option("--svg", type=click.Path(path_type=Path), help="Draw throughput and p95 there.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result there.")
def scale(*, file: Path | None, svg: Path | None, **given: Any) -> None:
    """Measure the API and the database at 10,000, 100,000 and a million projects, side by side.

    In about twelve minutes where nothing else runs, of which seeding a million projects takes
    three. Exit code 1 when anything is 1.3 times slower, or its p95 1.3 times longer, at up to a
    million than at the smallest size; ten million (`--sizes 10k,100k,1M,10M`) are shown alone.
    """
    if svg is not None and not svg.absolute().parent.is_dir():
        raise CommandError(f"{svg.absolute().parent} is no folder; give --svg another place")
    options = scale_bench.Options(**given)
    report = measured(file, lambda say: scale_bench.measure(options, say))
    if svg is not None:
        svg.write_bytes(growth_chart.draw(report.rows, _caption(report)))
    click.echo(growth.as_markdown(report))
    sys.exit(0 if report.met else 1)


def _caption(report: Judged[growth.Point]) -> str:
    """Where it was measured, and by what."""
    machine = report.machine
    return (
        f"{machine['cpu']}, {machine['cores']} cores, load generator included; "
        f"{report.commit}: mercenary bench scale"
    )
