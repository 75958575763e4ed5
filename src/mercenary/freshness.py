"""What a read must know of, so that it may be answered by a replica, which is always a bit behind.

Nothing may be, unless somebody says how much is enough: the edge for what a caller asks
(`edge/consistency.py`), a cache for what it fills (`cache/tiers.py`). Reads that are asked outside
of both, under a write or by a command, go to the primary (`db/replicas.py`).
"""

from contextvars import ContextVar
from typing import Final, NamedTuple

LSN_BITS: Final = 64
BEYOND: Final = (1 << LSN_BITS) - 1
"""A place in the log that nobody ever gets to."""


class Demand(NamedTuple):
    """All that was committed before a place in PostgreSQL's log and before a moment.

    `lsn` is the place (bytes since the log began), `moment` is on the monotonic clock, in seconds.
    A replica is `lag` behind in any case; 0 and 0.0 ask for no more than that.
    """

    lsn: int = 0
    moment: float = 0.0


_current: ContextVar[Demand | None] = ContextVar("freshness", default=None)

current = _current.get
"""What the running code's reads must know of; None: everything, so they go to the primary."""

allow = _current.set
"""Say what is enough for the reads of the running task and of those that it starts from now on."""


def require(*, lsn: int = 0, moment: float = 0.0) -> None:
    """Ask for more than was enough until here; where nothing was, it stays so."""
    demand = _current.get()
    if demand is not None:
        _current.set(Demand(max(demand.lsn, lsn), max(demand.moment, moment)))
