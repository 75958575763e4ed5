"""Children that end when their parent does, even when that one is killed with no chance to say so.

Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere the next `mercenary up` stops what was left.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

PR_SET_PDEATHSIG: Final = 1

# Loaded before any fork: a child between fork and exec must not import or allocate much.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send `number` to this process when the thread that made it ends."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def bound_to_parent(number: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn` for a child of this process. It runs after the change of user, which would
    clear the setting again."""
    parent = os.getpid()

    def bind() -> None:
        die_with_parent(number)
        if os.getppid() != parent:  # it ended between fork and prctl
            os.kill(os.getpid(), signal.SIGKILL)

    return bind
