"""A request's stay: until when it is worth answering, and how long it has queued so far.

The edge opens one for each request. What waits on its way finds it by `current()`, keeps to its
deadline and adds the time it spent in a queue. The run of a batch has a stay of its own, with the
latest deadline of those it serves: nobody needs its answer later.

*Sojourn time* is what queueing theory calls the time from a customer's arrival to its departure.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Sojourn:
    """One stay. `deadline` is on the loop's clock, `queued` in seconds.

    `step_out` and `step_in` give the request's place among those in flight away and take it back.
    """

    __slots__ = ("deadline", "queued", "step_in", "step_out")

    def __init__(
        self,
        deadline: float,
        *,
        step_out: Callable[[], None] = lambda: None,
        step_in: Callable[[], None] = lambda: None,
    ) -> None:
        self.deadline = deadline
        self.queued = 0.0
        self.step_out = step_out
        self.step_in = step_in


_current: ContextVar[Sojourn | None] = ContextVar("sojourn", default=None)

current = _current.get
"""The stay that the running code belongs to; None outside of requests and runs."""

enter = _current.set
"""Make a stay the one of the running task and of those that it starts from now on."""


@contextmanager
def elsewhere() -> Iterator[None]:
    """Wait for what has a bound of its own, such as threads that hash, without a place in flight.

    What would otherwise be taken for a load that slows everybody down is a wait for one thing.
    """
    stay = current()
    if stay is None:
        yield
        return
    stay.step_out()
    try:
        yield
    finally:
        stay.step_in()
