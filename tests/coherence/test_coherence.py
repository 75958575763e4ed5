"""Two hosts never show what the contract forbids, whatever breaks; and the judge would find it.

The first round's seed is always the same, the second one's is drawn and named where it fails:
`python -m tests.coherence --seconds 30 --seed N` plays it again.
"""

import random
from collections.abc import Iterator

import pytest
import uvloop

from tests.coherence.hosts import Hosts
from tests.coherence.rounds import Round
from tests.conftest import server_folder

SECONDS = 30.0
DRAWN = random.SystemRandom().randrange(1_000_000)
SEEDS = [pytest.param(4, id="always the same"), pytest.param(DRAWN, id=f"drawn: {DRAWN}")]
BROKEN = ("tests.coherence.broken:unsettled", "tests.coherence.broken:deaf")
BROKEN_SECONDS = 8.0


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with server_folder() as folder, Hosts(folder) as hosts:
        yield hosts


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_older_than_promised_is_shown_whatever_breaks(hosts: Hosts, seed: int) -> None:
    outcome = uvloop.run(Round(hosts, seed).play(SECONDS))
    assert outcome.violations == [], outcome.described
    assert outcome.wanting == [], outcome.described


def test_a_host_whose_clocks_stand_still_and_a_deaf_one_are_found_out() -> None:
    """The first shows its own writes late, the second those of the first."""
    with server_folder() as folder, Hosts(folder, BROKEN) as hosts:
        outcome = uvloop.run(Round(hosts, DRAWN, faults=False).play(BROKEN_SECONDS))
    for host in range(len(BROKEN)):
        found = {each.rule for each in outcome.violations if each.act.host == host}
        assert "stale" in found, f"host {host}: {outcome.described}"
