"""What a storm did, step by step, and the judgement on it.

Times of what was served count from the moment at which a request was due (open arrivals). Those of
refusals count from its sending, as the client sees them, since it was ours to send it in time.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from mercenary.bench.generator import percentile
from mercenary.bench.open_load import Phase, Played
from mercenary.bench.verdicts import Judged, Verdict, as_table, at_least, at_most, line

GOOD_SECONDS: Final = 1.0
"""An answer that is later is no good to whoever waits for it."""
LEAST_GOODPUT: Final = 0.9
MOST_TIMES_UNLOADED: Final = 3.0
MOST_REFUSAL_MS: Final = 10.0
RECOVERY_SECONDS: Final = 10
_REFUSED: Final = 503
_COLUMNS: Final = (
    *("step", "offered/s", "goodput/s", "served of writes / reads / searches", "p50 ms", "p95 ms"),
    *("p99 ms", "refused", "refusal p50 / p99 ms", "sent late, p99 ms", "errors"),
)


class Share(msgspec.Struct, frozen=True):
    """One class in one step: requests offered, served well, and refused."""

    offered: int
    good: int
    refused: int
    p50_ms: float
    p99_ms: float


class Step(msgspec.Struct, frozen=True):
    """One step. `offered` and `rate`, which is the goodput, are a second; times are of the served.

    `errors` are neither served nor refused. `late_ms` is how late this side sent, at p99.
    """

    name: str
    offered: float
    rate: float
    refused: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    refusal_p50_ms: float
    refusal_p99_ms: float
    late_ms: float
    classes: dict[str, Share]


Report = Judged[Step]
"""A storm's result."""


def steps_of(played: Played, phases: Sequence[Phase], kinds: Sequence[str]) -> list[Step]:
    """Sum up each phase."""
    rows: list[list[int]] = [[] for _ in phases]
    for row, phase in enumerate(played.phase):
        rows[phase].append(row)
    return [_step(played, phase, mine, kinds) for phase, mine in zip(phases, rows, strict=True)]


def recovery_of(played: Played, phases: Sequence[Phase], unloaded_p99_ms: float) -> float:
    """Seconds from the last phase's begin until all was normal, and stayed so.

    A second is normal when nobody who came in it was refused or failed, and 95% of them were
    served within the bound on the 99% of a storm.
    """
    begin = sum(phase.seconds for phase in phases[:-1])
    seconds: list[list[int]] = [[] for _ in range(int(phases[-1].seconds))]
    for row, phase in enumerate(played.phase):
        if phase == len(phases) - 1:
            second = int(played.due[row] / 1e9 - begin)
            seconds[min(max(second, 0), len(seconds) - 1)].append(row)
    recovered = 0
    for second, rows in enumerate(seconds):
        times = sorted(_time_ms(played, row) for row in rows)
        served = all(_is_served(played, row) for row in rows)
        if not served or percentile(times, 0.95) > MOST_TIMES_UNLOADED * unloaded_p99_ms:
            recovered = second + 1
    return float(recovered)


def unloaded_p99(steps: Sequence[Step]) -> float:
    """Milliseconds: of the calm steps before and after the storm, the one that was disturbed less.

    Both have the same load, so what makes one of them slower is no slowness of the product's own
    that a storm's callers should have to bear three times.
    """
    return min(steps[0].p99_ms, steps[-1].p99_ms)


def judge(steps: Sequence[Step], recovery: float) -> list[Verdict]:
    """Judge a storm: an unloaded step, those of the storm in rising order, and a calm one.

    Goodput is compared with the peak of the steps before it: as load rises, search gives way to
    reads and writes, which may well cost less, and more goodput is no fault of the steps before.
    """
    _, *storm, _ = steps
    shares, peak = [], 0.0
    for step in storm:
        peak = max(peak, step.rate)
        shares.append(step.rate / peak if peak else 0.0)
    slowest = max(step.p99_ms for step in storm)
    refusals = max(step.refusal_p99_ms for step in storm)
    bound = MOST_TIMES_UNLOADED * unloaded_p99(steps)
    return [
        at_least("goodput, of its peak so far", min(shares), LEAST_GOODPUT),
        at_most("p99 of the served, ms", slowest, round(bound, 1)),
        at_most("p99 of the refusals, ms", refusals, MOST_REFUSAL_MS),
        at_most("until all is normal, s", recovery, RECOVERY_SECONDS),
        at_most("neither served nor refused", sum(step.errors for step in steps), 0),
    ]


def as_markdown(report: Report) -> str:
    """The steps, the verdicts and the conditions, for docs/figures.md and for the terminal."""
    lines = [line(_COLUMNS), line(["---"] + ["---:"] * (len(_COLUMNS) - 1))]
    lines += [line(_cells(step)) for step in report.rows]
    lines += ["", *as_table(report.verdicts)]
    detail, machine = report.detail, report.machine
    busy = ", ".join(f"{name} {cores:.2f}" for name, cores in detail["busy"].items())
    lines += [
        "",
        f"- Capacity {detail['capacity']:,.0f}/s in a closed model; {detail['workers']} worker(s), "
        f"{detail['scale']} projects, {detail['callers']:,} callers, steps of "
        f"{detail['seconds']} s",
        f"- Processor, in cores over all steps: {busy}; generator and PostgreSQL kept to core "
        f"{detail['database_core']}",
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['python']}; commit "
        f"{report.commit}: `{report.command}`",
    ]
    return "\n".join(lines)


def _step(played: Played, phase: Phase, rows: Sequence[int], kinds: Sequence[str]) -> Step:
    times = sorted(_time_ms(played, row) for row in rows if _is_served(played, row))
    refusals = sorted(played.took[row] / 1e6 for row in rows if played.status[row] == _REFUSED)
    late = sorted(played.late[row] / 1e6 for row in rows)
    return Step(
        name=phase.name,
        offered=round(len(rows) / phase.seconds, 1),
        rate=round(sum(_is_good(played, row) for row in rows) / phase.seconds, 1),
        refused=len(refusals),
        errors=len(rows) - len(times) - len(refusals),
        p50_ms=round(percentile(times, 0.50), 1),
        p95_ms=round(percentile(times, 0.95), 1),
        p99_ms=round(percentile(times, 0.99), 1),
        refusal_p50_ms=round(percentile(refusals, 0.50), 1),
        refusal_p99_ms=round(percentile(refusals, 0.99), 1),
        late_ms=round(percentile(late, 0.99), 1),
        classes={
            kind: _share(played, [row for row in rows if played.kind[row] == number])
            for number, kind in enumerate(kinds)
        },
    )


def _share(played: Played, rows: Sequence[int]) -> Share:
    times = sorted(_time_ms(played, row) for row in rows if _is_served(played, row))
    return Share(
        offered=len(rows),
        good=sum(_is_good(played, row) for row in rows),
        refused=sum(played.status[row] == _REFUSED for row in rows),
        p50_ms=round(percentile(times, 0.50), 1),
        p99_ms=round(percentile(times, 0.99), 1),
    )


def _time_ms(played: Played, row: int) -> float:
    return (played.late[row] + played.took[row]) / 1e6


def _is_served(played: Played, row: int) -> bool:
    return 200 <= played.status[row] <= 299


def _is_good(played: Played, row: int) -> bool:
    return _is_served(played, row) and _time_ms(played, row) <= 1000 * GOOD_SECONDS


def _cells(step: Step) -> list[str]:
    served = (
        f"{one.good / one.offered:.0%}" if one.offered else "-" for one in step.classes.values()
    )
    return [
        step.name,
        f"{step.offered:,.0f}",
        f"{step.rate:,.0f}",
        " / ".join(served),
        *(f"{value:.0f}" for value in (step.p50_ms, step.p95_ms, step.p99_ms)),
        f"{step.refused:,}",
        f"{step.refusal_p50_ms:.1f} / {step.refusal_p99_ms:.1f}" if step.refused else "-",
        f"{step.late_ms:.1f}",
        f"{step.errors:,}",
    ]
