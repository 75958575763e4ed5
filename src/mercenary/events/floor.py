"""The id below which the outbox holds nothing any more, so that looking passes nothing deleted.

Deleted rows stay in table and index while any transaction is open that might still see them. A look
from the beginning passes all of them: 200,000 cost 40 ms, twenty times a second. But ids aren't
committed in their order, so «above the last one» would miss rows. What holds is this: whoever drew
an id had a transaction id before (`insert_events` sees to it), and when all transactions have ended
that had one when a row was handed on, nobody is left who could insert below that row.
"""

import time
from typing import Final

FROM_THE_BEGINNING_SECONDS: Final = 5.0
"""So often all is looked at in any case: ids go back where a database is restored from a copy."""


class Floor:
    """One relay's. `id` is where its looks begin, but for one from the beginning now and then."""

    def __init__(self) -> None:
        self.id = 0
        # Ids that will be the floor, each with the transaction before which all must have ended:
        # the one that is waited for, and the last one.
        self._next: tuple[int, int] | None = None
        self._last: tuple[int, int] | None = None
        self._certain = False
        self._whole = time.monotonic()

    def begin(self) -> int:
        """The id above which to look now."""
        now = time.monotonic()
        if now - self._whole < FROM_THE_BEGINNING_SECONDS:
            return self.id
        self._whole = now
        return 0

    def see(self, running: int) -> None:
        """By the look's snapshot, every transaction below `running` has ended."""
        if self._next is not None and running >= self._next[1]:
            self._certain = True

    def settle(self) -> None:
        """Everything that the look could see has been handed on."""
        if self._certain and self._next is not None:
            self.id = max(self.id, self._next[0])
            self._next = self._last if self._last != self._next else None
            self._certain = False

    def hand_on(self, id: int, transaction: int) -> None:
        """Rows up to this id were handed on, by a transaction that got its own id afterwards."""
        self._last = id, transaction
        if self._next is None:
            self._next = self._last
