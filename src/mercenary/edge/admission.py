"""How many requests a worker may have in flight, found by watching how long they queue.

A worker has two queues that grow with its load: the event loop's, of callbacks that are due, and
the batches', of asks that wait for a lane to the database. Both are measured where they stand, so
nothing has to be learnt of what an endpoint usually takes, and a wait for one row's lock or for a
password's hash is no queue of everybody's: it can't be taken for load. (Latencies compared with a
least or a mean one, as Netflix's concurrency-limits does, can't tell them apart; decision 15.)

The rule is CoDel's (RFC 8289): a queue that drains is good, one that stands is bad. Once a window,
the typical time queued is compared with a target, and the limit moves towards where they'd meet.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from mercenary.http.endpoint import Criticality

# The shares of the limit that each class may fill, so that search is refused first, writes last.
SHARES: Final = {Criticality.WRITE: 1.0, Criticality.READ: 0.75, Criticality.SEARCH: 0.5}

# Seconds that a request may typically queue for the database, and that a callback may be late by.
# Lower ones make batches smaller, and each request dearer; higher ones make everybody wait. See
# decision 15 for what was measured, and `mercenary bench overload` to measure it again.
QUEUE_TARGET: Final = 0.025
LAG_TARGET: Final = 0.010

WINDOW: Final = 0.05
"""Seconds between two looks: some times what a request takes, so that the last step shows."""
TICKS_PER_WINDOW: Final = 5
FEWEST: Final = 8
"""Requests that must have ended before their time in the queue says something."""
LARGEST_CUT: Final = 0.7
LARGEST_RISE: Final = 1.05
_NEGLIGIBLE: Final = 0.01
STANDING: Final = 3
"""Windows for which a queue must have stood: those whom a lock held up come back all at once, and
in that window nearly all have waited."""
CALM: Final = 0.5
"""Below this share of the targets there is no queue, and the limit returns to where it began."""


@dataclass(slots=True)
class AdmissionMeasures:
    """What admission has done since the worker started; by class in the order of Criticality."""

    admitted: list[int] = field(default_factory=lambda: [0] * len(Criticality))
    refused: list[int] = field(default_factory=lambda: [0] * len(Criticality))
    cuts: int = 0
    """Windows that ended in a lower limit."""
    rises: int = 0
    """Windows that ended in a higher limit."""
    lag: float = 0.0
    """Seconds that a callback was late in the last window, on average."""
    queued: float = 0.0
    """Seconds that a request queued for the database, the median of the last window with enough."""


def _call_later(seconds: float, callback: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, callback)


class Admission:
    """Lets requests in while fewer than `limit` are in flight, by class.

    `limit` begins at `start` and stays between `least`, which lets a few dozen callers who ask one
    after the other in on the slowest machine, and `most`. `later` calls back after so many seconds
    of `clock`, by default on the running loop, which is left alone while nothing is in flight.
    """

    def __init__(
        self,
        *,
        least: int,
        start: int,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], object] = _call_later,
    ) -> None:
        if not 1 <= least <= start <= most:
            raise ValueError("the limits of requests in flight must be in order")
        self.least = least
        self.start = start
        self.most = most
        self.in_flight = 0
        self.measures = AdmissionMeasures()
        self.limit = float(start)
        self._clock = clock
        self._later = later
        self._room = [0] * len(Criticality)
        self._set(self.limit)
        self._refused = False
        self._queued: list[float] = []
        self._lags: list[float] = []
        self._watching = False
        self._due = 0.0
        self._window_ends = 0.0
        self._recent: deque[float] = deque(maxlen=STANDING)

    def admit(self, criticality: Criticality) -> bool:
        """Whether a request may come in now; who may must `leave` in the end."""
        if self.in_flight >= self._room[criticality]:
            self._refused = True
            self.measures.refused[criticality] += 1
            return False
        self.in_flight += 1
        self.measures.admitted[criticality] += 1
        if not self._watching:
            self._watching = True
            self._window_ends = self._clock() + WINDOW
            self._tick_later()
        return True

    def leave(self, queued: float) -> None:
        """End a request that has queued for so many seconds in all."""
        self.in_flight -= 1
        self._queued.append(queued)

    def step_out(self) -> None:
        """Give a place away for a wait that has a bound of its own."""
        self.in_flight -= 1

    def step_in(self) -> None:
        """Take the place back, though the limit be passed: the request is half done."""
        self.in_flight += 1

    def adapt(self, lag: float) -> None:
        """Move the limit, at the end of a window in which callbacks were so many seconds late."""
        self.measures.lag = lag
        pressure = lag / LAG_TARGET
        known = len(self._queued) >= FEWEST
        if known:
            # The median, so that the waits of a few for one thing aren't everybody's.
            self.measures.queued = sorted(self._queued)[len(self._queued) // 2]
            self._queued.clear()
            pressure = max(pressure, self.measures.queued / QUEUE_TARGET)
        self._recent.append(pressure)
        standing = min(self._recent)
        refused, self._refused = self._refused, False
        # Times in the queue grow with the limit, so the ratio of the two is the way to the target.
        # Its root goes half of it: what is seen lags behind what was done.
        if standing > 1:
            self._set(self.limit * max(LARGEST_CUT, standing**-0.5))
            self.measures.cuts += 1
        elif pressure > 1 or not (known or self.in_flight == 0):
            return  # the queue may drain yet, or nothing is known of it
        elif refused:
            self._set(self.limit * min(LARGEST_RISE, max(pressure, _NEGLIGIBLE) ** -0.5))
            self.measures.rises += 1
        elif pressure < CALM and self.limit < self.start:
            self._set(min(self.limit * LARGEST_RISE, self.start))
            self.measures.rises += 1

    def _set(self, limit: float) -> None:
        self.limit = min(max(limit, self.least), self.most)
        for criticality, share in SHARES.items():
            self._room[criticality] = max(1, int(self.limit * share))

    def _tick_later(self) -> None:
        seconds = WINDOW / TICKS_PER_WINDOW
        self._due = self._clock() + seconds
        self._later(seconds, self._tick)

    def _tick(self) -> None:
        """See how late the loop is; at the end of a window, act. Goes on until all is quiet."""
        now = self._clock()
        self._lags.append(max(0.0, now - self._due))
        if now >= self._window_ends:
            self.adapt(sum(self._lags) / len(self._lags))
            self._lags.clear()
            self._window_ends = now + WINDOW
        if self.in_flight or self._lags or self.limit < self.start:
            self._tick_later()
        else:
            self._watching = False
