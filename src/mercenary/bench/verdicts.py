"""How a bench that isn't about rates alone judges itself: rules, each with a bound of its own."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

Row = TypeVar("Row")


class Verdict(msgspec.Struct, frozen=True):
    """One rule: the worst that was measured, and what it may be."""

    rule: str
    measured: float
    bound: float
    met: bool


class Judged(msgspec.Struct, Generic[Row], frozen=True):
    """A bench's result, as `--json` writes it."""

    machine: dict[str, Any]
    commit: str
    command: str
    rows: list[Row]
    verdicts: list[Verdict]
    detail: dict[str, Any]

    @property
    def met(self) -> bool:
        """Whether every rule was kept."""
        return all(verdict.met for verdict in self.verdicts)

    def to_json(self) -> bytes:
        """As `--json` writes it, laid out for people, too."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def at_least(rule: str, measured: float, bound: float) -> Verdict:
    """A rule that wants as much, or more."""
    return Verdict(rule, round(measured, 3), bound, measured >= bound)


def at_most(rule: str, measured: float, bound: float) -> Verdict:
    """A rule that wants no more."""
    return Verdict(rule, round(measured, 3), bound, measured <= bound)


def as_table(verdicts: Sequence[Verdict]) -> list[str]:
    """The rules and whether they were kept, as lines of Markdown."""
    return [
        *("| rule | measured | bound | |", "|---|---:|---:|---|"),
        *(
            line((one.rule, f"{one.measured:g}", f"{one.bound:g}", "met" if one.met else "MISSED"))
            for one in verdicts
        ),
    ]


def line(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"
