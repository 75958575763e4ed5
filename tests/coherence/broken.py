"""Applications that break the contract in one place each, so that the judge has to find out.

`mercenary serve --target tests.coherence.broken:deaf` runs one.
"""

from collections.abc import Iterable
from unittest.mock import patch

from mercenary.app import Application, create_app
from mercenary.cache.clocks import Clocks
from mercenary.db.replicas import Replicas
from mercenary.freshness import Demand


def unsettled() -> Application:
    """Its writes move no clock of its host's, which then hears of them from the relay alone."""

    def leave(self: Clocks, tags: Iterable[str], stamp: int) -> None:
        """Do nothing."""

    patch.multiple(Clocks, begin=leave, settle=leave).start()
    return create_app()


def deaf() -> Application:
    """It hears the relay's word, and none of what the relay tells of other hosts' writes."""

    def ignore(self: Clocks, tags: Iterable[str], stamp: int) -> int:
        return 0

    patch.object(Clocks, "apply", ignore).start()
    return create_app()


def hasty() -> Application:
    """Its replicas answer whatever they lack."""
    suiting = Replicas.suiting
    patch.object(Replicas, "suiting", lambda self, _: suiting(self, Demand())).start()
    return create_app()
