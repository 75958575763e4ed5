"""The form of every bench's result, and how it judges itself.

`Report` is what `--json` writes. A row's figures are the medians of its runs; a yardstick's value
is ours ÷ theirs in the same run, again the median. Only the guide's floors decide the exit code; of
some rows the guide says nothing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

import msgspec

# The guide: "API Error Rate < 0.1%".
MAX_ERROR_SHARE: Final = 0.001
PRODUCT: Final = "mercenary"


class Floor(msgspec.Struct, frozen=True):
    """What the guide asks for: so many a second, with 95% of them within so many milliseconds."""

    rate: float
    p95_ms: float


class Measurement(msgspec.Struct, frozen=True):
    """One timed run of one row against one contender.

    CPU seconds are those of the run; None where the process couldn't be looked at. `busy` is the
    generator's own share of a core for each of its threads.
    """

    row: str
    contender: str
    run: int
    rate: float
    requests: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: dict[str, int]
    server_cpu_s: float | None
    database_cpu_s: float | None
    rss_mib: float | None
    generator_cpu_s: float
    busy: float

    @property
    def error_count(self) -> int:
        """All errors together."""
        return sum(self.errors.values())

    def per_1000(self, cpu_seconds: float | None) -> float | None:
        """CPU seconds for 1,000 requests."""
        if cpu_seconds is None or self.requests == 0:
            return None
        return cpu_seconds * 1000 / self.requests

    @property
    def cpu_s_per_1000(self) -> float | None:
        """What server and database used together for 1,000 requests, as far as they are known."""
        if self.server_cpu_s is None:
            return None
        return self.per_1000(self.server_cpu_s + (self.database_cpu_s or 0.0))


class Verdict(msgspec.Struct, frozen=True):
    """The guide's floor, and whether it was met."""

    rate: float
    p95_ms: float
    met: bool


class Row(msgspec.Struct, frozen=True):
    """One kind of work: medians over its runs, and the sum of their errors."""

    name: str
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int
    cpu_s_per_1000: float | None
    rss_mib: float | None
    runs: int
    guide: Verdict | None
    yardsticks: dict[str, float]

    @property
    def met(self) -> bool:
        """Whether the guide's floor was met, if there is one."""
        return self.guide is None or self.guide.met


class Report(msgspec.Struct, frozen=True):
    """A bench's result. `detail` holds the conditions and every single measurement."""

    machine: dict[str, Any]
    commit: str
    command: str
    rows: list[Row]
    detail: dict[str, Any]

    @property
    def met(self) -> bool:
        """Whether every floor of the guide was met."""
        return all(row.met for row in self.rows)

    def to_json(self) -> bytes:
        """As `--json` writes it, laid out for people, too."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def judge(measurements: Sequence[Measurement], floors: Mapping[str, Floor | None]) -> list[Row]:
    """A row for each name that the product was measured for, in the order of the floors."""
    by_row: defaultdict[str, defaultdict[str, list[Measurement]]]
    by_row = defaultdict(lambda: defaultdict(list))
    for measurement in measurements:
        by_row[measurement.row][measurement.contender].append(measurement)
    return [
        _row(name, floor, by_row[name]) for name, floor in floors.items() if by_row[name][PRODUCT]
    ]


def _row(name: str, floor: Floor | None, contenders: Mapping[str, list[Measurement]]) -> Row:
    ours = contenders[PRODUCT]
    errors = sum(one.error_count for one in ours)
    requests = sum(one.requests for one in ours)
    rate = median(one.rate for one in ours)
    p95 = median(one.p95_ms for one in ours)
    answered = requests > 0 and errors < MAX_ERROR_SHARE * requests
    return Row(
        name=name,
        rate=round(rate, 1),
        p50_ms=round(median(one.p50_ms for one in ours), 2),
        p95_ms=round(p95, 2),
        p99_ms=round(median(one.p99_ms for one in ours), 2),
        errors=errors,
        cpu_s_per_1000=_median([one.cpu_s_per_1000 for one in ours], 4),
        rss_mib=_median([one.rss_mib for one in ours], 1),
        runs=len(ours),
        guide=None
        if floor is None
        else Verdict(
            floor.rate, floor.p95_ms, answered and rate >= floor.rate and p95 <= floor.p95_ms
        ),
        yardsticks={
            contender: ratio
            for contender, theirs in contenders.items()
            if contender != PRODUCT and (ratio := _ratio(ours, theirs)) is not None
        },
    )


def _ratio(ours: Sequence[Measurement], theirs: Sequence[Measurement]) -> float | None:
    rates = {one.run: one.rate for one in theirs}
    ratios = [one.rate / rates[one.run] for one in ours if rates.get(one.run)]
    return round(median(ratios), 3) if ratios else None


def _median(values: Sequence[float | None], places: int) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), places) if known else None
