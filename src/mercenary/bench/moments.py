"""What callers saw of a moment at which many wanted the same, and the judgement on it.

Times of a burst count from its sending, which is the same moment for all of it; those under an open
load from the moment at which a request was due.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

import msgspec

from mercenary.bench.bursts import Seen
from mercenary.bench.generator import percentile
from mercenary.bench.http_answers import CACHE_WORDS
from mercenary.bench.open_load import Played
from mercenary.bench.statements import Asked
from mercenary.bench.verdicts import Judged, Verdict, as_table, at_most, line

MOST_TIMES: Final = 3.0
"""How many times as long as normally the slowest hundredth may wait."""
LEAST_HITS: Final = 0.9
LASTING: Final = ", again and again"
"""Ends the name of a moment in which all ask for some time."""
RECOVERY_SECONDS: Final = 10
HITS: Final = frozenset(CACHE_WORDS.index(word) for word in ("hit-memory", "hit-redis"))
_COLUMNS: Final = (
    *("moment", "times", "requests", "not served", "from the cache", "p50 ms", "p95 ms"),
    *("p99 ms", "projects read"),
)


class Moment(msgspec.Struct, frozen=True):
    """One kind of moment over its rounds: sums, median times, and the most reads of a round.

    `hits` is the share that came from the cache; `reads` counts projects read from the database.
    """

    name: str
    rounds: int
    requests: int
    errors: int
    hits: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    reads: int


class Flush(msgspec.Struct, frozen=True):
    """What a flush did: each phase's moment, and the slowest second's p99 in it, in milliseconds.

    `recovered` are seconds until the hit ratio was good for good; `allowed` are the reads that make
    one for each key, process and change.
    """

    before: Moment
    after: Moment
    slowest_before_ms: float
    slowest_after_ms: float
    recovered: float
    allowed: int


def moment_of(name: str, rounds: Sequence[Sequence[Seen]], asked: Sequence[Asked]) -> Moment:
    """Sum up the rounds of one kind."""
    times = [sorted(one.took_ms for one in seen) for seen in rounds]
    seen = [one for each in rounds for one in each]
    return Moment(
        name=name,
        rounds=len(rounds),
        requests=len(seen),
        errors=sum(one.status != 200 for one in seen),
        hits=_share(sum(one.cache in HITS for one in seen), len(seen)),
        p50_ms=_median(times, 0.50),
        p95_ms=_median(times, 0.95),
        p99_ms=_median(times, 0.99),
        reads=max(one.rows for one in asked),
    )


def phase_of(name: str, played: Played, phase: int, reading: int, reads: int) -> Moment:
    """Sum up a phase of an open load; hits are those among the requests of one kind."""
    rows = [row for row, number in enumerate(played.phase) if number == phase]
    times = [sorted(_time_ms(played, row) for row in rows)]
    cached = [played.cache[row] for row in rows if played.kind[row] == reading]
    return Moment(
        name=name,
        rounds=1,
        requests=len(rows),
        errors=sum(not 200 <= played.status[row] <= 299 for row in rows),
        hits=_share(sum(number in HITS for number in cached), len(cached)),
        p50_ms=_median(times, 0.50),
        p95_ms=_median(times, 0.95),
        p99_ms=_median(times, 0.99),
        reads=reads,
    )


def slowest_second(played: Played, phase: int) -> float:
    """The highest p99 of the phase's seconds, in milliseconds."""
    seconds = _by_second(played, phase).values()
    return max(percentile(sorted(_time_ms(played, row) for row in rows), 0.99) for rows in seconds)


def recovery_of(played: Played, phase: int, reading: int) -> float:
    """Seconds from the phase's begin until the hit ratio was good, and stayed so."""
    recovered = 0
    for second, rows in sorted(_by_second(played, phase).items()):
        cached = [played.cache[row] for row in rows if played.kind[row] == reading]
        if _share(sum(number in HITS for number in cached), len(cached)) < LEAST_HITS:
            recovered = second + 1
    return float(recovered)


def allowed_reads(played: Played, phase: int, reading: int, processes: int) -> int:
    """How many projects may be read in a phase: one for each key and process, and for each change.

    Reads and changes must draw from the same list.
    """
    read: set[int] = set()
    changed: Counter[int] = Counter()
    for row, number in enumerate(played.phase):
        if number == phase:
            if played.kind[row] == reading:
                read.add(played.filling[row])
            else:
                changed[played.filling[row]] += 1
    return sum(processes * (1 + changed[filling]) for filling in read)


def judge(
    bursts: Mapping[str, Moment], lifetimes: int, flush: Flush, processes: int
) -> list[Verdict]:
    """Judge by what is wanted; `lifetimes` were begun while the key expired under load."""
    kept, lasting = bursts["kept"].p99_ms, bursts[f"kept{LASTING}"].p99_ms
    expiring = bursts[f"expiring{LASTING}"]
    moments = [*bursts.values(), flush.before, flush.after]
    return [
        *(
            at_most(f"{name}: reads of the key for each process", bursts[name].reads / processes, 1)
            for name in ("changed", "expired")
        ),
        at_most("expiring: the same for each lifetime", expiring.reads / processes / lifetimes, 1),
        at_most("flushed: reads, of one for each key and process", _ratio(flush), 1),
        *(
            at_most(f"{name}: p99, times normal", bursts[name].p99_ms / kept, MOST_TIMES)
            for name in ("changed", "expired")
        ),
        at_most("expiring: p99, times normal", expiring.p99_ms / lasting, MOST_TIMES),
        at_most(
            "flushed: p99 of the slowest second, times normal",
            flush.slowest_after_ms / flush.slowest_before_ms,
            MOST_TIMES,
        ),
        at_most(
            f"flushed: until {LEAST_HITS:.0%} come from the cache, s",
            flush.recovered,
            RECOVERY_SECONDS,
        ),
        at_most("not served", sum(one.errors for one in moments), 0),
    ]


def as_markdown(report: Judged[Moment]) -> str:
    """The moments, the verdicts and the conditions, for docs/figures.md and for the terminal."""
    detail, machine = report.detail, report.machine
    lines = [line(_COLUMNS), line(["---"] + ["---:"] * (len(_COLUMNS) - 1))]
    lines += [line(_cells(moment)) for moment in report.rows]
    lines += ["", *as_table(report.verdicts), ""]
    lines += [
        f"- {detail['callers']:,} callers, {detail['workers']} workers, {detail['projects']:,} "
        f"projects; lifetimes of {detail['lifetime']:g} s; flushed under {detail['rate']:,.0f} "
        f"requests a second, {detail['share']:.0%} of the capacity, drawn by a Zipf law, 1% of "
        "them changes",
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['python']}; commit "
        f"{report.commit}: `{report.command}`",
    ]
    return "\n".join(lines)


def _ratio(flush: Flush) -> float:
    return flush.after.reads / flush.allowed if flush.allowed else 0.0


def _by_second(played: Played, phase: int) -> dict[int, list[int]]:
    rows = [row for row, number in enumerate(played.phase) if number == phase]
    begin = min((played.due[row] for row in rows), default=0)
    seconds: dict[int, list[int]] = {}
    for row in rows:
        seconds.setdefault(int((played.due[row] - begin) / 1e9), []).append(row)
    return seconds


def _time_ms(played: Played, row: int) -> float:
    return (played.late[row] + played.took[row]) / 1e6


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _median(times: Sequence[Sequence[float]], share: float) -> float:
    return round(median(percentile(each, share) for each in times), 2)


def _cells(moment: Moment) -> list[str]:
    return [
        moment.name,
        f"{moment.rounds}",
        f"{moment.requests:,}",
        f"{moment.errors:,}",
        f"{moment.hits:.1%}",
        *(f"{value:.1f}" for value in (moment.p50_ms, moment.p95_ms, moment.p99_ms)),
        f"{moment.reads:,}",
    ]
