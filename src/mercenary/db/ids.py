"""Ids drawn in blocks before the insert, so that a batch knows each row's id without a trip back.

A block that is drawn and never used leaves a gap, which is all that a sequence promises anyway.
"""

from collections import defaultdict, deque

from sqlalchemy import Sequence, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Integer

BLOCK_ROWS = 512


class IdBlocks:
    """What this process holds of each sequence."""

    def __init__(self) -> None:
        self._held: defaultdict[str, deque[int]] = defaultdict(deque)

    async def take(self, db: AsyncConnection, sequence: Sequence, count: int) -> list[int]:
        """`count` ids that nobody else will ever get; a trip only when the block runs out."""
        held = self._held[sequence.name]
        while len(held) < count:
            wanted = max(BLOCK_ROWS, count)
            numbers = func.generate_series(1, bindparam("wanted", wanted, type_=Integer))
            drawn = await db.execute(select(sequence.next_value()).select_from(numbers))
            held.extend(drawn.scalars())
        return [held.popleft() for _ in range(count)]
