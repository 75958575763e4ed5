"""How a project's tally follows from the one before and from what has changed about its proposals.

Counting all of a project's bids at each bid would make popular projects slow to bid for. Whoever
holds the project's row knows the tally before, so only the withdrawal or the raise of the lowest
bid needs another look at the rows.
"""

from collections.abc import Iterable
from decimal import Decimal

from msgspec import UNSET, UnsetType

from mercenary.projects.schemas import Tally
from mercenary.proposals.schemas import Proposal


def tallied(
    before: Tally, changes: Iterable[tuple[Proposal | None, Proposal]]
) -> tuple[int, Decimal | UnsetType | None]:
    """The count and the lowest bid after changes, each a proposal before (None: new) and after.

    The lowest bid is UNSET where only the rows can tell it.
    """
    count, lowest = before.proposal_count, before.lowest_bid
    offers: list[Decimal] = [] if lowest is None else [lowest]
    lost = False
    for was, became in changes:
        left, stays = _standing_bid(was), _standing_bid(became)
        count += (stays is not None) - (left is not None)
        if stays is not None:
            offers.append(stays)
        lost |= left is not None and left == lowest and (stays is None or stays > left)
    if not count:
        return 0, None
    best = min(offers)
    return count, UNSET if lost and best == lowest else best


def _standing_bid(proposal: Proposal | None) -> Decimal | None:
    return None if proposal is None or proposal.status == "withdrawn" else proposal.bid
