"""A tally that follows from the one before is the one that counting all proposals gives."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from mercenary.http.access import UserId
from mercenary.projects.schemas import ProjectId, Tally
from mercenary.proposals.schemas import Proposal, ProposalId
from mercenary.proposals.tallies import tallied

PROPOSAL = Proposal(
    id=ProposalId(1),
    project_id=ProjectId(1),
    freelancer_id=UserId(1),
    cover_letter="Letter",
    bid=Decimal(1),
    currency="USD",
    estimated_days=1,
    status="pending",
    created_at="",
    updated_at="",
    version=1,
)
proposals = st.builds(
    lambda bid, status: replace(PROPOSAL, bid=Decimal(bid), status=status),
    st.integers(1, 4),
    st.sampled_from(["pending", "accepted", "rejected", "withdrawn"]),
)


def counted(every: list[Proposal]) -> Tally:
    bids = [each.bid for each in every if each.status != "withdrawn"]
    return Tally(len(bids), min(bids, default=None))


@given(
    others=st.lists(proposals, max_size=4),
    changes=st.lists(st.tuples(st.none() | proposals, proposals), max_size=4),
)
def test_it_is_right_or_says_that_it_does_not_know(
    others: list[Proposal], changes: list[tuple[Proposal | None, Proposal]]
) -> None:
    """Whatever else there is, whatever comes, changes and goes at once."""
    before = counted(others + [was for was, _ in changes if was is not None])
    after = counted(others + [became for _, became in changes])
    count, lowest = tallied(before, changes)
    assert count == after.proposal_count
    if lowest is UNSET:  # as it may only where the lowest bid was lost
        assert any(was is not None and was.bid == before.lowest_bid for was, _ in changes)
    else:
        assert lowest == after.lowest_bid
