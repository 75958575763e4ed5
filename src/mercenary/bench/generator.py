"""What a load generator is: the processes it runs, and what they saw."""

import math
import sys
from collections.abc import Sequence
from typing import Final, Literal, Protocol

import msgspec

from mercenary.bench.traffic import Plan
from mercenary.settings import SetupError

TIMEOUT_SECONDS: Final = 10

GeneratorName = Literal["wrk", "asyncio"]
GENERATORS: Final[tuple[GeneratorName, ...]] = ("wrk", "asyncio")


class Outcome(msgspec.Struct, frozen=True):
    """What a generator saw. `requests` counts every answer; `errors` is by kind."""

    requests: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: dict[str, int]


class GeneratorError(SetupError):
    """The generator gave no result; the text is what it said."""

    def __init__(self, said: str) -> None:
        super().__init__(f"the load generator failed: {said}")


class Generator(Protocol):
    """Something that makes load."""

    name: GeneratorName
    threads: int

    def commands(self, plan: Plan) -> Sequence[list[str]]:
        """The processes to run at the same time."""

    def outcome(self, plan: Plan) -> Outcome:
        """What they saw, once all have ended."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the ordered values lie, by nearest rank."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules in this interpreter."""
    return [sys.executable, "-m", module, *arguments]
