"""All that the database is asked about purges: what waits, what is due, what was told.

Nobody holds a row while a CDN is called, for the relay writes to the same rows, and all that is
invalidated would wait for it. Who takes a row postpones it for as long as the call may last; who
dies leaves it due again. Whoever locks several rows and waits for them does so in the order of
their tags, so that no two ever wait for each other.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Float,
    Integer,
    Text,
    and_,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.cdn.tables import cdn_purges
from mercenary.db.arrays import array_of, columns_of, rows_of

EVERYTHING: Final = "*"


class Purge(msgspec.Struct, frozen=True):
    """A tag to be told to one target; `asked` tells this wish from a later one for the same tag."""

    tag: str
    asked: int
    told: int
    attempts: int


_TARGET: Final = bindparam("of_target", type_=Text())
_SECONDS: Final = bindparam("seconds", type_=Float())
_SO_LATE: Final = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, _SECONDS)

_WANTED = rows_of("wanted", target=Text(), tag=Text())
_wish = upsert(cdn_purges).from_select(["target", "tag", "due_at"], select(*_WANTED.c, func.now()))
_ASK = _wish.on_conflict_do_update(
    index_elements=[cdn_purges.c.target, cdn_purges.c.tag],
    # Of the row that is wanted, for on a cluster a conflict may not lead to now().
    set_={"asked": cdn_purges.c.asked + 1, "told": 0, "due_at": _wish.excluded.due_at},
)


async def ask_for_purges(
    tx: AsyncConnection, targets: Iterable[str], tags: Collection[str]
) -> None:
    """Have each target told to forget each tag."""
    rows = sorted({(target, tag) for target in targets for tag in tags})
    await tx.execute(_ASK, columns_of("wanted", ("target", "tag"), rows))


_DUE = (
    select(cdn_purges.c.tag)
    .where(cdn_purges.c.target == _TARGET, cdn_purges.c.due_at <= func.now())
    .order_by(cdn_purges.c.due_at)
    .limit(bindparam("rows", type_=Integer()))
    .with_for_update(skip_locked=True)
)
# What is locked is locked by a statement of its own: a cluster takes no lock within a change.
_OF_TAGS: Final = and_(
    cdn_purges.c.target == _TARGET, cdn_purges.c.tag == func.any(array_of("tags", Text()))
)
_TAKE = (
    update(cdn_purges)
    .where(_OF_TAGS)
    .values(due_at=_SO_LATE, attempts=cdn_purges.c.attempts + 1)
    .returning(cdn_purges.c.tag, cdn_purges.c.asked, cdn_purges.c.told, cdn_purges.c.attempts)
)


async def take_due(
    tx: AsyncConnection, target: str, *, rows: int, seconds: float
) -> Sequence[Purge]:
    """Up to `rows` purges that are due, which for so many seconds are nobody else's."""
    due = await tx.execute(_DUE, {"of_target": target, "rows": rows})
    asked = {"of_target": target, "tags": due.scalars().all(), "seconds": seconds}
    return [Purge(*row) for row in await tx.execute(_TAKE, asked)]


_TAKEN = rows_of("taken", tag=Text(), asked=BigInteger())
_UNCHANGED = (
    select(cdn_purges.c.tag)
    .join(_TAKEN, and_(_TAKEN.c.tag == cdn_purges.c.tag, _TAKEN.c.asked == cdn_purges.c.asked))
    .where(cdn_purges.c.target == _TARGET)
    # By code points, as Python sorts what is asked for.
    .order_by(cdn_purges.c.tag.collate("C"))
    .with_for_update(of=cdn_purges)
)
_POSTPONE = update(cdn_purges).where(_OF_TAGS).values(due_at=_SO_LATE)
_TELL_AGAIN = _POSTPONE.values(told=cdn_purges.c.told + 1, attempts=0)
_DELETE = delete(cdn_purges).where(_OF_TAGS)


async def postpone(
    tx: AsyncConnection, target: str, taken: Sequence[Purge], *, seconds: float
) -> None:
    """Have purges that couldn't be told become due in so many seconds."""
    await tx.execute(_POSTPONE, await _unchanged(tx, target, taken) | {"seconds": seconds})


async def tell_again(
    tx: AsyncConnection, target: str, taken: Sequence[Purge], *, seconds: float
) -> None:
    """Note that purges were told, and have them told once more in so many seconds."""
    await tx.execute(_TELL_AGAIN, await _unchanged(tx, target, taken) | {"seconds": seconds})


async def delete_purges(tx: AsyncConnection, target: str, taken: Sequence[Purge]) -> None:
    """Remove purges that were told as often as they should be."""
    await tx.execute(_DELETE, await _unchanged(tx, target, taken))


async def _unchanged(tx: AsyncConnection, target: str, taken: Sequence[Purge]) -> dict[str, Any]:
    """Hold those that nobody has asked for anew meanwhile; the parameters of `_OF_TAGS`."""
    rows = [(purge.tag, purge.asked) for purge in taken]
    asked = columns_of("taken", ("tag", "asked"), rows) | {"of_target": target}
    return {"of_target": target, "tags": (await tx.execute(_UNCHANGED, asked)).scalars().all()}


_WAITING = select(func.count()).where(cdn_purges.c.target == _TARGET)


async def count_waiting(db: AsyncConnection, target: str) -> int:
    """How many tags a target is still to be told."""
    return int((await db.execute(_WAITING, {"of_target": target})).scalar_one())


_LEFT = (
    select(cdn_purges.c.tag)
    .where(cdn_purges.c.target == _TARGET, cdn_purges.c.tag != EVERYTHING)
    .with_for_update(skip_locked=True)
)


async def ask_for_everything(tx: AsyncConnection, target: str) -> None:
    """Have a target told to forget everything, instead of each of the tags that wait."""
    left = (await tx.execute(_LEFT, {"of_target": target})).scalars().all()
    await tx.execute(_DELETE, {"of_target": target, "tags": left})
    await ask_for_purges(tx, [target], [EVERYTHING])


_DELETE_OTHERS = delete(cdn_purges).where(
    cdn_purges.c.target != func.all(array_of("targets", Text()))
)


async def delete_for_others(tx: AsyncConnection, targets: Sequence[str]) -> int:
    """Remove what would have been told to targets that there are no more; gives the rows."""
    return (await tx.execute(_DELETE_OTHERS, {"targets": list(targets)})).rowcount
