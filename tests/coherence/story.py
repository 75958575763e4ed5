"""Tells the story of a violation: all that was asked of its thing around that time, in order."""

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final

from tests.coherence.history import Act, History, Shown
from tests.coherence.judge import Violation
from tests.coherence.timeline import LAG

BEFORE: Final = LAG + 1.5
AFTER: Final = 0.3
_LINES: Final = 60


def story(history: History, violation: Violation) -> str:
    """The violation, and around it each request that changed or showed the same thing.

    Times are milliseconds before and after the request at fault began.
    """
    zero = violation.act.begin
    lines = [
        f"{violation.rule}: {violation.key}: {violation.text}",
        f"  in {_who(violation.act)}: {violation.act.what}",
    ]
    told = sorted(_told(history, violation.key), key=itemgetter(0))
    near = [
        (time, text) for time, text in told if zero - BEFORE <= time <= violation.act.end + AFTER
    ]
    # Of a hot thing there is much; what is nearest tells most.
    if len(near) > _LINES:
        near = sorted(near, key=lambda line: abs(line[0] - zero))[:_LINES]
        near.sort(key=itemgetter(0))
    lines += [f"  {(time - zero) * 1000:+9.1f} ms  {text}" for time, text in near]
    return "\n".join(lines)


def summary(history: History, violations: Sequence[Violation], most: int = 5) -> str:
    """How many violations of which rule, and the first of each rule with its story."""
    counted = Counter(violation.rule for violation in violations)
    parts = [f"{len(violations)} violations: {dict(counted)}"]
    for rule in counted:
        some = [violation for violation in violations if violation.rule == rule]
        parts += [story(history, violation) for violation in some[:most]]
    return "\n\n".join(parts)


def _told(history: History, key: str) -> Iterator[tuple[float, str]]:
    for write in history.writes:
        if write.key == key:
            made = f"made version {write.version}" if write.version else "was never confirmed"
            yield _line(write.act, f"WRITE {made}")
    for read in history.reads:
        if read.key == key:
            yield _line(read.act, f"saw {_version(read.shown)} ({read.promise})")
    for each in history.lists:
        if key in each.items:
            yield _line(each.act, f"listed {_version(each.items[key])} ({each.promise})")
    for fault in history.faults:
        yield fault.begin, f"---- {fault.name}, for {fault.end - fault.begin:.2f} s"
        yield fault.end, f"---- mended: {fault.name}"


def _line(act: Act, text: str) -> tuple[float, str]:
    took = (act.end - act.begin) * 1000
    return act.begin, f"{took:6.1f} ms  {_who(act):34} {text}: {act.what}"


def _who(act: Act) -> str:
    return f"{act.client} on host {act.host}, worker {act.worker[:6]}"


def _version(shown: Shown | None) -> str:
    return "nothing" if shown is None else f"version {shown.version}"
