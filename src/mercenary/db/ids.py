"""Ids drawn in blocks before the insert, so that a batch knows each row's id without a trip back.

A block that is drawn and never used leaves a gap, which is all that a sequence promises anyway.
"""

from collections import defaultdict, deque

from sqlalchemy import BigInteger, Integer, Sequence, Text, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.ext.asyncio import AsyncConnection

BLOCK_ROWS = 512
_DRAW = select(
    func.nextval(cast(bindparam("sequence", type_=Text()), REGCLASS), type_=BigInteger())
).select_from(func.generate_series(1, bindparam("rows", type_=Integer())))


class IdBlocks:
    """What this process holds of each sequence."""

    def __init__(self) -> None:
        self._held: defaultdict[str, deque[int]] = defaultdict(deque)

    async def take(self, db: AsyncConnection, sequence: Sequence, count: int) -> list[int]:
        """`count` ids that nobody else will ever get; a trip only when the block runs out."""
        held = self._held[sequence.name]
        while len(held) < count:
            asked = {"sequence": sequence.name, "rows": max(BLOCK_ROWS, count)}
            drawn = await db.execute(_DRAW, asked)
            held.extend(drawn.scalars())
        return [held.popleft() for _ in range(count)]
