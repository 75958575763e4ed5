"""Ctrl-C, noted when it comes and acted on where the bench waits.

Raised out of the blue, as Python does by itself, KeyboardInterrupt may hit the moment of a fork or
a destructor, where it is printed and forgotten; then the bench would go on for minutes.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_noted = False


def interrupted() -> bool:
    """Whether somebody wants the bench to stop."""
    return _noted


@contextlib.contextmanager
def ctrl_c_noted() -> Iterator[None]:
    """Note Ctrl-C in this block instead of raising it; a second one is raised as usual."""
    global _noted

    def note(_number: int, _frame: FrameType | None) -> None:
        global _noted
        _noted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _noted = False
