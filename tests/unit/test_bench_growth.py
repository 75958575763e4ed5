"""What growth does to a figure: medians of the runs' ratios, a judgement, a chart."""

from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from mercenary.bench.growth import points_of, verdicts_of
from mercenary.bench.growth_chart import draw
from mercenary.bench.report import Measurement
from mercenary.cli import main

SIZES = {"10k": 10_000, "1M": 1_000_000}


def measured(size: str, run: int, rate: float, p95_ms: float) -> Measurement:
    """One run of `insert`."""
    return Measurement(
        row="insert",
        contender=size,
        run=run,
        rate=rate,
        requests=1_000,
        p50_ms=p95_ms / 2,
        p95_ms=p95_ms,
        p99_ms=p95_ms * 2,
        errors={},
        server_cpu_s=0.5,
        database_cpu_s=0.5,
        rss_mib=100.0,
        generator_cpu_s=0.0,
        busy=0.0,
    )


# The machine is half as fast in the second run, which is no growth.
RUNS = [
    *(measured("10k", 0, 1_000, 10), measured("1M", 0, 800, 12)),
    *(measured("10k", 1, 500, 20), measured("1M", 1, 400, 24)),
    *(measured("10k", 2, 1_000, 10), measured("1M", 2, 800, 13)),
]


def test_sizes_are_compared_within_each_run() -> None:
    small, large = points_of(RUNS, SIZES)
    assert (small.projects, small.rate, small.slower, small.later) == (10_000, 1_000, 1, 1)
    assert (large.projects, large.rate, large.slower, large.later) == (1_000_000, 800, 1.25, 1.2)
    assert (large.errors, large.runs, large.cpu_s_per_1000) == (0, 3, 1.0)


def test_a_quarter_slower_is_flat_and_half_as_fast_is_not() -> None:
    assert all(verdict.met for verdict in verdicts_of(RUNS, points_of(RUNS, SIZES)))
    slow = [replace(one, rate=400.0) if one.contender == "1M" else one for one in RUNS]
    missed = [one for one in verdicts_of(slow, points_of(slow, SIZES)) if not one.met]
    assert [(one.rule, one.measured) for one in missed] == [("insert: slower", 2.5)]


def test_past_a_million_projects_nothing_is_judged_flat() -> None:
    further = [replace(one, contender="10M", rate=10.0) for one in RUNS if one.contender == "1M"]
    points = points_of([*RUNS, *further], SIZES | {"10M": 10_000_000})
    assert points[-1].slower == 100
    assert all(verdict.met for verdict in verdicts_of(RUNS, points))


def test_errors_are_no_throughput() -> None:
    failing = [replace(one, errors={"status": 10}) for one in RUNS]
    missed = [one for one in verdicts_of(failing, points_of(failing, SIZES)) if not one.met]
    assert [one.rule for one in missed] == ["share of errors"]


@pytest.mark.parametrize("missed", [False, True])
def test_the_chart_shows_every_figure_and_says_what_is_not_flat(missed: bool) -> None:
    points = points_of(RUNS, SIZES)
    if missed:
        points = [points[0], replace(points[1], slower=1.31)]
    chart = ElementTree.fromstring(draw(points, "a machine"))
    texts = [each.text or "" for each in chart.iter("{http://www.w3.org/2000/svg}text")]
    assert {"insert", "1,000", "800", "10.0", "13.0", "10,000", "1,000,000"} <= set(texts)
    assert any("MISSED" in text for text in texts) is missed
    assert "a machine" in texts


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sizes", "10k"], "at least 2"),
        (["--sizes", "10k,2M"], "2M: it takes some of 1k, 10k"),
        (["--work", "select"], "select: it takes some of list-users"),
        (["--svg", "nowhere/at/all.svg"], "is no folder"),
    ],
)
def test_what_it_cannot_measure_is_refused_before_anything_starts(
    arguments: list[str], said: str
) -> None:
    result = CliRunner().invoke(main, ["bench", "scale", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr
