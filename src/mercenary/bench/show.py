"""A report for people: a table on the terminal, or in Markdown for `docs/figures.md`."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from mercenary.bench.load import BUSY_SHARE
from mercenary.bench.report import Measurement, Report, Row

_FIGURES: Final = (
    *("work", "ours/s (min to max)", "p50 ms", "p95 ms", "p99 ms", "errors"),
    *("CPU s/1,000", "RSS MiB", "guide", "ours ÷ yardstick", "floor"),
)
_CONTENDERS: Final = (
    *("work", "contender", "req/s (min to max)", "p50 ms", "p95 ms", "p99 ms", "errors"),
    *("server CPU s/1,000", "database CPU s/1,000", "RSS MiB", "generator busy"),
)
_WARNING: Final = (
    "WARNING: the load generator was up to {:.0%} busy, so that it may be what was measured; "
    "use wrk, or a machine with more cores"
)


class Grid(NamedTuple):
    """A table of texts."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def on_terminal(report: Report, console: Console) -> None:
    """Print both tables, and what they were measured on."""
    for grid in (_figures(report), _contenders(report)):
        table = Table(*grid.columns, title=grid.title, title_justify="left")
        for number in range(1, len(grid.columns)):
            table.columns[number].justify = "right"
        for row in grid.rows:
            table.add_row(*row)
        console.print(table)
    for line in conditions(report):
        console.print(line, highlight=False)


def as_markdown(report: Report) -> str:
    """Both tables and what they were measured on, ready for `docs/figures.md`."""
    parts = [*(f"- {line}" for line in conditions(report)), ""]
    for grid in (_figures(report), _contenders(report)):
        parts += [f"**{grid.title}**", "", _line(grid.columns)]
        parts.append(_line(["---"] + ["---:"] * (len(grid.columns) - 1)))
        parts += [*map(_line, grid.rows), ""]
    return "\n".join(parts)


def conditions(report: Report) -> list[str]:
    """Machine, versions, load and command, a line each."""
    machine, detail = report.machine, report.detail
    busiest = max((one.busy for one in _measurements(report)), default=0.0)
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return [
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['kernel']}, {machine['python']}; everything on it, load generator included",
        f"Versions: {versions}",
        *(detail.get("conditions") or _http_load(detail)),
        f"Commit {report.commit}: `{report.command}`",
        *([_WARNING.format(busiest)] if busiest > BUSY_SHARE else []),
    ]


def _http_load(detail: Mapping[str, Any]) -> list[str]:
    """What was asked over HTTP, and how; a bench of something else says its `conditions`."""
    return [
        f"Data: {detail['projects']:,} projects drawn by a Zipf law (s = {detail['exponent']:g}), "
        f"{detail['callers']:,} callers, {detail['write_share']:.0%} of the reads' requests write",
        f"Load: {detail['generator']}, {detail['threads']} threads, {detail['connections']} "
        f"connections, closed model; runs of {detail['seconds']} s, contenders in turn; "
        "medians",
    ]


def _figures(report: Report) -> Grid:
    every = _measurements(report)
    return Grid("The guide's figures", _FIGURES, [_figure(row, every) for row in report.rows])


def _figure(row: Row, every: Sequence[Measurement]) -> list[str]:
    ours = [one for one in every if (one.row, one.contender) == (row.name, "mercenary")]
    ratios = [f"{ratio:.2f} of {name}" for name, ratio in row.yardsticks.items()]
    return [
        row.name,
        _spread(ours),
        *(f"{value:.1f}" for value in (row.p50_ms, row.p95_ms, row.p99_ms)),
        f"{row.errors:,}",
        _number(row.cpu_s_per_1000, 3),
        _number(row.rss_mib, 0),
        "-" if row.guide is None else f"{row.guide.rate:,.0f}/s, p95 {row.guide.p95_ms:g} ms",
        ", ".join(ratios) or "-",
        "-" if row.guide is None else "met" if row.met else "MISSED",
    ]


def _contenders(report: Report) -> Grid:
    every = _measurements(report)
    pairs = dict.fromkeys((one.row, one.contender) for one in every)
    return Grid(
        "Every contender",
        _CONTENDERS,
        [_contender([one for one in every if (one.row, one.contender) == pair]) for pair in pairs],
    )


def _contender(runs: Sequence[Measurement]) -> list[str]:
    return [
        runs[0].row,
        runs[0].contender,
        _spread(runs),
        *(f"{median(values):.1f}" for values in zip(*_latencies(runs), strict=True)),
        f"{sum(one.error_count for one in runs):,}",
        _number(_middle([one.per_1000(one.server_cpu_s) for one in runs]), 3),
        _number(_middle([one.per_1000(one.database_cpu_s) for one in runs]), 3),
        _number(_middle([one.rss_mib for one in runs]), 0),
        f"{max(one.busy for one in runs):.0%}",
    ]


def _latencies(runs: Sequence[Measurement]) -> list[tuple[float, float, float]]:
    return [(one.p50_ms, one.p95_ms, one.p99_ms) for one in runs]


def _measurements(report: Report) -> list[Measurement]:
    return msgspec.convert(report.detail["measurements"], list[Measurement])


def _spread(runs: Sequence[Measurement]) -> str:
    rates = [one.rate for one in runs]
    return f"{median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:,.{places}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
