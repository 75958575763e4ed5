"""What growth does to a figure: medians at each size, and whether they stay flat."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

import msgspec

from mercenary.bench.report import MAX_ERROR_SHARE, Measurement
from mercenary.bench.verdicts import Judged, Verdict, as_table, at_most, line

FLAT: Final = 1.3
"""How many times slower than at the smallest size a marketplace may be and count as flat."""
JUDGED_UP_TO: Final = 1_000_000
"""Projects. Past them a marketplace may outgrow the memory of one server, which isn't a fault."""


class Point(msgspec.Struct, frozen=True):
    """One kind of work at one size: medians over its runs.

    `slower` and `later` are how many times less a second there are, and how many times longer 95%
    take, than at the smallest size: medians of the runs' own ratios, 1.0 at the smallest.
    """

    work: str
    projects: int
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int
    cpu_s_per_1000: float | None
    runs: int
    slower: float
    later: float


def points_of(measurements: Sequence[Measurement], sizes: Mapping[str, int]) -> list[Point]:
    """A point for each kind of work and size. A measurement's contender is its size's name."""
    smallest = min(sizes, key=sizes.__getitem__)
    points = []
    for work in dict.fromkeys(one.row for one in measurements):
        for name, projects in sizes.items():
            runs = [one for one in measurements if (one.row, one.contender) == (work, name)]
            first = {
                one.run: one for one in measurements if (one.row, one.contender) == (work, smallest)
            }
            used = [one.cpu_s_per_1000 for one in runs if one.cpu_s_per_1000 is not None]
            points.append(
                Point(
                    work=work,
                    projects=projects,
                    rate=round(median(one.rate for one in runs), 1),
                    p50_ms=round(median(one.p50_ms for one in runs), 2),
                    p95_ms=round(median(one.p95_ms for one in runs), 2),
                    p99_ms=round(median(one.p99_ms for one in runs), 2),
                    errors=sum(one.error_count for one in runs),
                    cpu_s_per_1000=round(median(used), 4) if used else None,
                    runs=len(runs),
                    slower=_times((first[one.run].rate, one.rate) for one in runs),
                    later=_times((one.p95_ms, first[one.run].p95_ms) for one in runs),
                )
            )
    return points


def verdicts_of(measurements: Sequence[Measurement], points: Sequence[Point]) -> list[Verdict]:
    """Whether each kind of work is flat, by its worst size, and whether it was done at all."""
    judged = [one for one in points if one.projects <= JUDGED_UP_TO]
    verdicts = []
    for work in dict.fromkeys(one.work for one in judged):
        of_it = [one for one in judged if one.work == work]
        verdicts.append(at_most(f"{work}: slower", max(one.slower for one in of_it), FLAT))
        verdicts.append(at_most(f"{work}: later", max(one.later for one in of_it), FLAT))
    errors = sum(one.error_count for one in measurements)
    requests = sum(one.requests for one in measurements)
    verdicts.append(at_most("share of errors", errors / max(1, requests), MAX_ERROR_SHARE))
    return verdicts


def as_markdown(judged: Judged[Point]) -> str:
    """The result for people, ready for `docs/figures.md`."""
    rows = [
        line(
            (
                one.work,
                f"{one.projects:,}",
                f"{one.rate:,.0f}",
                *(f"{value:.1f}" for value in (one.p50_ms, one.p95_ms, one.p99_ms)),
                f"{one.slower:.2f}",
                f"{one.later:.2f}",
                "-" if one.cpu_s_per_1000 is None else f"{one.cpu_s_per_1000:.3f}",
                f"{one.errors:,}",
            )
        )
        for one in judged.rows
    ]
    head = (
        *("work", "projects", "a second", "p50 ms", "p95 ms", "p99 ms", "slower, times"),
        *("p95 later, times", "CPU s/1,000", "errors"),
    )
    return "\n".join(
        [
            line(head),
            line(["---"] + ["---:"] * (len(head) - 1)),
            *rows,
            "",
            *as_table(judged.verdicts),
        ]
    )


def _times(pairs: Iterable[tuple[float, float]]) -> float:
    """The median of their quotients; what is nothing beside nothing is equal."""
    return round(median(one / other if other else 1.0 for one, other in pairs), 3)
