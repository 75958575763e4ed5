"""What batches count about themselves, at a cost that a hot path doesn't feel.

Nothing is ever reset: whoever collects the figures takes differences.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field


class Histogram:
    """Counts by powers of two: `buckets[k]` holds what is under 2**k units, and not under half.

    The last bucket holds everything larger, too. `total` is the sum of the values as they came.
    """

    __slots__ = ("buckets", "per_unit", "total")

    def __init__(self, *, per_unit: float = 1, buckets: int = 18) -> None:
        self.per_unit = per_unit
        self.buckets = [0] * buckets
        self.total = 0.0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.buckets)

    def add(self, values: Iterable[float]) -> None:
        """Count values, none of them negative: many at once cost half of what one by one does."""
        buckets, per_unit, last = self.buckets, self.per_unit, len(self.buckets) - 1
        total = self.total
        for value in values:
            total += value
            power = int(value * per_unit).bit_length()
            buckets[min(power, last)] += 1
        self.total = total


def durations() -> Histogram:
    """For seconds, counted from under 1 µs to over 33 s."""
    return Histogram(per_unit=1e6, buckets=27)


@dataclass(slots=True)
class Measures:
    """What a batch has seen since it was made. Callers are counted, unless it says otherwise."""

    asks: int = 0
    """Let in, those that shared another's ask among them."""
    shared: int = 0
    """Joined an equal ask."""
    rejected: int = 0
    """Turned away because too many asks waited or the batch was closed."""
    failed: int = 0
    """Given an exception of their run."""
    expired: int = 0
    """Told that their deadline had passed."""
    abandoned: int = 0
    """Cancelled before they had an answer."""
    runs: int = 0
    """Calls of the batch's function, those for halves among them."""
    splits: int = 0
    """Calls that failed as a whole and were made again for halves."""
    sizes: Histogram = field(default_factory=Histogram)
    """Asks a call."""
    waits: Histogram = field(default_factory=durations)
    """Seconds from an ask to the start of its run, one value an ask."""
    run_times: Histogram = field(default_factory=durations)
    """Seconds a call took."""
