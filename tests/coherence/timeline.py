"""What can be told of one thing at a time: how new it must be shown, and what may be shown."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Final

from tests.coherence.history import Act, Filters, Promise, Shown, State, Write

# The contract: on other hosts, and lists everywhere, within so many seconds.
LAG: Final = 1.0


def fits(state: State, filters: Filters) -> bool | None:
    """Whether a state passes filters; None where it doesn't hold all the fields that decide."""
    known = True
    for field, values in filters.items():
        if field not in state:
            known = False
        elif state[field] not in values:
            return False
    return True if known else None


class Marks:
    """Highest version by time: how new a thing was known to be."""

    def __init__(self, points: Iterable[tuple[float, int]]) -> None:
        ordered = sorted(points)
        self._times = [time for time, _ in ordered]
        self._highest = list(accumulate((version for _, version in ordered), max))

    def before(self, time: float) -> int:
        """The highest version known before this time; 0 where none was."""
        index = bisect_left(self._times, time)
        return self._highest[index - 1] if index else 0


class Timeline:
    """One thing: what its writers were told, and where each of its versions was seen first."""

    def __init__(
        self, key: str, writes: Sequence[Write], sightings: Sequence[tuple[Act, Shown]]
    ) -> None:
        self.key = key
        self.writes = sorted(writes, key=attrgetter("act.begin"))
        self.made = {write.version: write for write in self.writes if write.version is not None}
        self.unsure = [write for write in self.writes if write.version is None]
        self.seen: dict[int, tuple[Act, Shown]] = {}
        for act, shown in sorted(sightings, key=lambda sighting: sighting[0].end):
            self.seen.setdefault(shown.version, (act, shown))
        self.created_at = next(
            (write.state["created_at"] for write in self.writes if "created_at" in write.state),
            None,
        )
        self._by_filters: dict[str, tuple[list[Write], list[Write]]] = {}
        told = [(write, write.version) for write in self.writes if write.version is not None]
        acknowledged = [(write.act.end, version) for write, version in told]
        self._known = Marks(
            acknowledged + [(act.end, version) for version, (act, _) in self.seen.items()]
        )
        self._on_host = {
            host: Marks(
                (write.act.end, version) for write, version in told if write.act.host == host
            )
            for host in {write.act.host for write, _ in told}
        }

    def known(self, time: float) -> int:
        """The newest version that anybody had been told of or shown before this time."""
        return self._known.before(time)

    def floor(self, promise: Promise, act: Act) -> int:
        """The oldest version that this request may be shown; 0 where it needn't be there yet.

        What somebody was shown was committed by then, acknowledged or not, so a second later
        everybody is owed it. At once it is owed only where and when it was acknowledged.
        """
        if promise == "database":
            return self._known.before(act.begin)
        floor = self._known.before(act.begin - LAG)
        if promise == "entity" and act.host in self._on_host:
            floor = max(floor, self._on_host[act.host].before(act.begin))
        return floor

    def may_exist(self, version: int, time: float) -> bool:
        """Whether something that had begun before this time can have made this version."""
        write = self.made.get(version)
        if write is not None:
            return write.act.begin < time
        return any(write.act.begin < time for write in self.unsure)

    def may_hide(self, floor: int, time: float, filters: Filters) -> bool:
        """Whether the filters hide a version from `floor` on that may exist at this time."""
        return floor == 0 or _some(self._sorted_out(filters)[0], floor, time)

    def may_show(self, floor: int, time: float, filters: Filters) -> bool:
        """Whether the filters let a version from `floor` on pass that may exist at this time."""
        return _some(self._sorted_out(filters)[1], floor, time)

    def state(self, version: int) -> State:
        """What is known of a version: by its writer, or else by who saw it first."""
        write = self.made.get(version)
        if write is not None:
            return write.state
        return self.seen[version][1].state if version in self.seen else {}

    def _sorted_out(self, filters: Filters) -> tuple[list[Write], list[Write]]:
        """The writes whose states these filters may hide, and those they may let pass."""
        name = repr(filters)
        if name not in self._by_filters:
            fitting = [(write, self._may_fit(write, filters)) for write in self.writes]
            hidden = [write for write, found in fitting if False in found]
            passing = [write for write, found in fitting if found != {False}]
            self._by_filters[name] = hidden, passing
        return self._by_filters[name]

    def _may_fit(self, write: Write, filters: Filters) -> set[bool | None]:
        if write.version is not None or not self.made:
            return {fits(write.state, filters)}
        # It would have changed some fields of a state, and nobody knows of which one.
        return {fits({**other.state, **write.state}, filters) for other in self.made.values()}


def _some(writes: Sequence[Write], floor: int, time: float) -> bool:
    """Whether one of these had begun and may have made a version from `floor` on."""
    # Of an unsure write nobody knows the version, so it may be any.
    return any(
        write.act.begin < time and (write.version is None or write.version >= floor)
        for write in writes
    )
