"""What `mercenary bench cache` found, for people, and the judgement on it."""

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Final

import msgspec

from mercenary.bench.contenders import BARE
from mercenary.bench.costs import OURS, Cost
from mercenary.bench.http_answers import CACHE_WORDS
from mercenary.bench.open_load import Played
from mercenary.bench.playing import READING
from mercenary.bench.report import Row
from mercenary.bench.verdicts import Judged, Verdict, as_table, at_least, at_most, line

ALL: Final = "all projects"
CHANGING: Final = "with-changes"
LEAST_HITS: Final = 0.97
"""The guide asks for more than 0.9."""
LEAST_OF_BARE: Final = 0.5
# That a row measures what its name says.
_LEAST_AS_NAMED: Final = 0.9
_IN_MEMORY, _IN_VALKEY = "hit-memory", "hit-redis"


class Answered(msgspec.Struct, frozen=True):
    """Where answers came from: of `reads`, how many by X-Cache's words; `errors` of all."""

    name: str
    reads: int
    errors: int
    words: dict[str, int]

    def share(self, *words: str) -> float:
        """The part of the reads for which X-Cache said one of these, from 0 to 1."""
        return sum(self.words.get(word, 0) for word in words) / self.reads if self.reads else 0.0


def answered_in(played: Played, name: str) -> Answered:
    """Count what X-Cache said to all who read."""
    words = Counter(
        CACHE_WORDS[cache]
        for cache, kind in zip(played.cache, played.kind, strict=True)
        if kind == READING
    )
    errors = sum(not 200 <= status <= 299 for status in played.status)
    return Answered(name, words.total(), errors, dict(words))


def verdicts_of(rows: Sequence[Row], answered: Sequence[Answered]) -> list[Verdict]:
    """Judge by what is wanted, and whether each row measured what its name says."""
    shares = {one.name: one for one in answered}
    hits = next(row for row in rows if row.name == "hit-memory")
    errors = sum(row.errors for row in rows) + sum(one.errors for one in answered)
    return [
        at_least("share of hits", shares[ALL].share(_IN_MEMORY, _IN_VALKEY), LEAST_HITS),
        at_least("hit-memory, of the bare callable", hits.yardsticks.get(BARE, 0), LEAST_OF_BARE),
        at_least(
            "hit-memory: found in memory", shares["hit-memory"].share(_IN_MEMORY), _LEAST_AS_NAMED
        ),
        at_least(
            "hit-valkey: found in Valkey", shares["hit-valkey"].share(_IN_VALKEY), _LEAST_AS_NAMED
        ),
        at_most("errors", errors, 0),
    ]


def as_markdown(report: Judged[Row]) -> str:
    """All tables and the conditions, for docs/figures.md and for the terminal."""
    detail, machine = report.detail, report.machine
    answered = msgspec.convert(detail["answered"], list[Answered])
    costs = msgspec.convert(detail["costs"], list[Cost])
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return "\n".join(
        [
            *_over_http(report.rows),
            "",
            *_where_from(answered),
            "",
            *_inside(costs),
            "",
            *as_table(report.verdicts),
            "",
            f"- {detail['projects']:,} projects drawn by a Zipf law, {detail['callers']:,} "
            f"callers; in {CHANGING} and in {ALL} {detail['write_share']:.0%} change one; "
            f"{detail['connections']} connections by {detail['generator']}, {detail['runs']} runs "
            f"of {detail['seconds']} s",
            f"- A node in memory takes {detail['node_bytes']:.0f} bytes beside its size",
            f"- {machine['cpu']}, {machine['cores']} cores, {machine['python']}; {versions}",
            f"- Commit {report.commit}: `{report.command}`",
        ]
    )


def _over_http(rows: Sequence[Row]) -> list[str]:
    names = ("over HTTP", "a second", "p50 ms", "p95 ms", "p99 ms", "errors", "CPU s/1,000")
    lines = [line((*names, f"of {BARE}")), line(["---", *["---:"] * len(names)])]
    for row in rows:
        cpu = "-" if row.cpu_s_per_1000 is None else f"{row.cpu_s_per_1000:.3f}"
        times = (f"{value:.1f}" for value in (row.p50_ms, row.p95_ms, row.p99_ms))
        ratio = f"{row.yardsticks.get(BARE, 0):.2f}"
        lines.append(line((row.name, f"{row.rate:,.0f}", *times, f"{row.errors:,}", cpu, ratio)))
    return lines


def _where_from(answered: Sequence[Answered]) -> list[str]:
    words = CACHE_WORDS[1:]
    lines = [line(("reads", "answers", *words)), line(["---", *["---:"] * (1 + len(words))])]
    for one in answered:
        shares = (f"{one.share(word):.2%}" for word in words)
        lines.append(line((one.name, f"{one.reads:,}", *shares)))
    return lines


def _inside(costs: Sequence[Cost]) -> list[str]:
    names = ("inside of a process", "µs (min to max)", "a second", "found", "ours, times")
    lines = [line(names), line(["---", "---:", "---:", "---", "---:"])]
    ours = next((median(one.rate) for one in costs if one.name == OURS), 0.0)
    for one in costs:
        times, rate = one.microseconds, median(one.rate)
        found = ", ".join(f"{count:,} {word}" for word, count in one.found.items())
        ratio = f"{ours / rate:.1f}" if one.name.startswith("cashews") else ""
        spread = f"{median(times):.3g} ({min(times):.3g} to {max(times):.3g})"
        lines.append(line((one.name, spread, f"{rate:,.0f}", found, ratio)))
    return lines
