"""What work costs a process that does nothing else: the plan for measuring it, and the result."""

from typing import Final

import msgspec

OURS: Final = "mercenary"


class Plan(msgspec.Struct, frozen=True):
    """What a process measures: `rounds` of `requests` each, by these callers on these projects."""

    tokens: list[str]
    ids: list[int]
    rounds: int
    requests: int
    result: str


class Cost(msgspec.Struct, frozen=True):
    """Of one kind of work, by round: µs of this process each, and how many a second.

    `found` counts where the answers came from, over all rounds.
    """

    name: str
    microseconds: list[float]
    rate: list[float]
    found: dict[str, int]


class Costs(msgspec.Struct, frozen=True):
    """What a process has measured; `node_bytes` are those of a node in memory without a value."""

    costs: list[Cost]
    node_bytes: float
