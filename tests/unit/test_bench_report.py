"""A bench judges itself: medians, ratios of the same run, floors, and the form others read."""

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from mercenary.bench import show
from mercenary.bench.report import Floor, Measurement, Report, Row, Verdict, judge

FLOORS = {"get-project": Floor(1_000, 80), "create-project": Floor(850, 120)}


def measured(**changed: Any) -> Measurement:
    """A run that meets its floor, unless something is changed."""
    fields: dict[str, Any] = {
        "row": "get-project",
        "contender": "mercenary",
        "run": 0,
        "rate": 2_000.0,
        "requests": 10_000,
        "p50_ms": 5.0,
        "p95_ms": 10.0,
        "p99_ms": 20.0,
        "errors": {"status": 0, "connect": 0, "read": 0, "write": 0, "timeout": 0},
        "server_cpu_s": 1.5,
        "database_cpu_s": 0.5,
        "rss_mib": 200.0,
        "generator_cpu_s": 0.4,
        "busy": 0.2,
    }
    return Measurement(**{**fields, **changed})


def row_of(*measurements: Measurement) -> Row:
    """The only row of these."""
    (row,) = judge(measurements, FLOORS)
    return row


def test_a_row_has_the_medians_of_its_runs_and_the_sum_of_errors() -> None:
    row = row_of(
        measured(run=0, rate=1_500.0, p95_ms=30.0, errors={"status": 2}),
        measured(run=1, rate=9_000.0, p95_ms=10.0),
        measured(run=2, rate=1_600.0, p95_ms=20.0, errors={"timeout": 1}),
    )
    assert (row.rate, row.p95_ms, row.errors, row.runs) == (1_600.0, 20.0, 3, 3)


def test_cpu_counts_server_and_database_for_a_thousand_requests() -> None:
    assert row_of(measured()).cpu_s_per_1000 == 0.2
    assert row_of(measured(database_cpu_s=None)).cpu_s_per_1000 == 0.15
    assert row_of(measured(server_cpu_s=None)).cpu_s_per_1000 is None


@pytest.mark.parametrize(
    ("changed", "met"),
    [
        ({"rate": 1_000.0, "p95_ms": 80.0}, True),
        ({"rate": 999.9}, False),
        ({"p95_ms": 80.1}, False),
        ({"errors": {"status": 9}}, True),
        ({"errors": {"status": 10}}, False),  # the guide says less than 0.1%
        ({"requests": 0}, False),
    ],
)
def test_a_floor_is_met_when_rate_and_latency_and_errors_are(
    changed: dict[str, Any], met: bool
) -> None:
    row = row_of(measured(**changed))
    assert row.met is met
    assert row.guide == Verdict(1_000, 80, met)


def test_a_row_of_which_the_guide_says_nothing_is_shown_and_not_judged() -> None:
    unbound = measured(row="get-project-uncached", rate=1.0)
    rows = judge([measured(), unbound], {**FLOORS, unbound.row: None})
    assert [(row.name, row.guide is None, row.met) for row in rows] == [
        ("get-project", False, True),
        ("get-project-uncached", True, True),
    ]
    report = msgspec.structs.replace(report_of(measured(), unbound), rows=rows)
    assert report.met
    assert "| get-project-uncached | 1 (1 to 1) | 5.0 |" in show.as_markdown(report)


def test_yardsticks_are_ratios_to_the_same_run() -> None:
    row = row_of(
        # Twice as quick a machine in the second run changes no ratio.
        *(measured(run=run, rate=rate) for run, rate in enumerate([2_000.0, 4_000.0])),
        *(
            measured(run=run, rate=rate, contender="plain-fastapi")
            for run, rate in enumerate([200.0, 400.0])
        ),
        measured(run=0, rate=8_000.0, contender="bare-asgi"),
    )
    assert row.yardsticks == {"plain-fastapi": 10.0, "bare-asgi": 0.25}


def test_a_yardstick_that_answered_nothing_gives_no_ratio() -> None:
    assert row_of(measured(), measured(rate=0.0, contender="bare-asgi")).yardsticks == {}


def test_the_report_is_met_when_every_row_is() -> None:
    good, bad = measured(), measured(row="create-project", rate=1.0)
    assert report_of(good).met
    assert not report_of(good, bad).met


def test_json_has_the_form_that_every_bench_writes() -> None:
    written = msgspec.json.decode(
        report_of(measured(), measured(contender="bare-asgi", rate=4_000.0)).to_json()
    )
    assert list(written)[:4] == ["machine", "commit", "command", "rows"]
    assert written["rows"] == [
        {
            "name": "get-project",
            "rate": 2_000.0,
            "p50_ms": 5.0,
            "p95_ms": 10.0,
            "p99_ms": 20.0,
            "errors": 0,
            "cpu_s_per_1000": 0.2,
            "rss_mib": 200.0,
            "runs": 1,
            "guide": {"rate": 1_000, "p95_ms": 80, "met": True},
            "yardsticks": {"bare-asgi": 0.5},
        }
    ]


def test_people_see_spread_ratio_verdict_and_conditions() -> None:
    report = report_of(
        measured(rate=1_500.0), measured(run=1, rate=2_500.0, p95_ms=900.0), measured(run=2)
    )
    markdown = show.as_markdown(report)
    assert "| get-project | 2,000 (1,500 to 2,500) | 5.0 | 10.0 | 20.0 | 0 |" in markdown
    assert "2 cores" in markdown
    assert "`mercenary bench api`" in markdown
    printed = io.StringIO()
    show.on_terminal(report, Console(file=printed, width=200))
    assert "2,000 (1,500 to 2,500)" in printed.getvalue()
    assert "met" in printed.getvalue()


@pytest.mark.parametrize(("busy", "warns"), [(0.85, False), (0.86, True)])
def test_a_generator_that_may_be_the_bottleneck_is_said(busy: float, warns: bool) -> None:
    lines = show.conditions(report_of(measured(), measured(run=1, busy=busy)))
    assert any(line.startswith("WARNING: the load generator") for line in lines) is warns


def report_of(*measurements: Measurement) -> Report:
    """A report of these."""
    return Report(
        machine={
            "cpu": "Some CPU",
            "cores": 2,
            "memory_gib": 8.0,
            "kernel": "Linux 6",
            "python": "CPython 3.11",
            "versions": {"granian": "2.8"},
        },
        commit="abc",
        command="mercenary bench api",
        rows=judge(measurements, FLOORS),
        detail={
            "projects": 1_000,
            "callers": 100,
            "exponent": 1.0,
            "write_share": 0.01,
            "connections": 64,
            "seconds": 5,
            "generator": "wrk",
            "threads": 2,
            "measurements": msgspec.to_builtins(measurements),
        },
    )
