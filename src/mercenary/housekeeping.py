"""Housekeeping: all that is removed when its time has passed, and in what order.

Each feature knows what of its own is over; here the chores have their names. `mercenary clean`
does them, and whatever schedules tasks may call the same.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.auth import service as auth
from mercenary.db import idempotency
from mercenary.db.cleaning import Chore
from mercenary.projects import service as projects
from mercenary.proposals import service as proposals
from mercenary.users import service as users
from mercenary.users.schemas import ERASED_NAME


async def erase_accounts(tx: AsyncConnection, rows: int) -> int:
    """Erase accounts whose time to be kept is over: all that is personal goes, at once.

    What others rely on stays: published projects, and the proposals made for them. The account's
    drafts are deleted, its open projects cancelled, its name taken from all of them, its proposals
    withdrawn and emptied of their letters, but for accepted ones, whose letter is what was agreed
    on. An account with more of these than `rows` is erased in the turn that finishes them.
    """
    ids = await users.lock_erasable(tx, rows)
    if not ids:
        return 0
    unfinished = await projects.find_unfinished(tx, ids, rows)
    named = await projects.find_named_otherwise(tx, ids, ERASED_NAME, rows)
    letters = await proposals.find_letters(tx, ids, rows)
    # All projects at once, in the order that everybody locks them in.
    held = await projects.lock_projects(tx, {*unfinished, *named, *letters.values()})
    await projects.abandon(tx, {id: held[id] for id in unfinished if id in held})
    await projects.rename_held(tx, named, dict.fromkeys(ids, ERASED_NAME))
    await proposals.retract(
        tx, [id for id, project_id in letters.items() if project_id in held], held
    )
    if max(len(unfinished), len(named), len(letters)) < rows:
        await auth.erase_accounts(tx, ids)
        await users.erase_users(tx, ids)
    return len({*unfinished, *named}) + len(letters) + len(ids)


# Sessions before accounts, so that an account to be erased has next to none.
CHORES: Final[Mapping[str, Chore]] = {
    "idempotency keys": idempotency.remove_expired,
    "sessions": auth.remove_dead_sessions,
    "accounts": erase_accounts,
}
