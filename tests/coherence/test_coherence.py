"""Two hosts never show what the contract forbids, whatever breaks; and the judge would find it.

The first round's seed is always the same, the second one's is drawn and named where it fails:
`python -m tests.coherence --seconds 30 --seed N` plays it again.
"""

import asyncio
import random
from collections.abc import Iterator

import pytest
import uvloop

from tests.coherence.hosts import HOSTS, Hosts
from tests.coherence.rounds import Outcome, Round
from tests.conftest import server_folder
from tests.replicas.servers import paused

SECONDS = 30.0
DRAWN = random.SystemRandom().randrange(1_000_000)
SEEDS = [pytest.param(4, id="always the same"), pytest.param(DRAWN, id="drawn")]
HASTY = ("tests.coherence.broken:hasty",) * HOSTS
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


def test_nothing_older_than_promised_is_shown_by_replicas() -> None:
    with server_folder() as folder, Hosts(folder, replicas=2) as hosts:
        outcome = uvloop.run(Round(hosts, DRAWN).play(SECONDS))
    assert outcome.violations == [], outcome.described
    assert outcome.wanting == [], outcome.described


def test_hosts_that_fill_from_replicas_which_lack_the_write_are_found_out() -> None:
    async def stop_and_go(uri: str) -> None:
        while True:
            async with paused(uri):
                await asyncio.sleep(1.0)

    async def play(hosts: Hosts) -> Outcome:
        pausing = asyncio.create_task(stop_and_go(hosts.replicas[0].uri))
        outcome = await Round(hosts, DRAWN, faults=False).play(BROKEN_SECONDS)
        pausing.cancel()
        await asyncio.wait({pausing})
        return outcome

    with server_folder() as folder, Hosts(folder, HASTY, replicas=1, replica_lag=5.0) as hosts:
        outcome = uvloop.run(play(hosts))
    assert "stale" in {each.rule for each in outcome.violations}, outcome.described


def test_a_host_whose_clocks_stand_still_and_a_deaf_one_are_found_out() -> None:
    """The first shows its own writes late, the second those of the first."""
    with server_folder() as folder, Hosts(folder, BROKEN) as hosts:
        outcome = uvloop.run(Round(hosts, DRAWN, faults=False).play(BROKEN_SECONDS))
    for host in range(len(BROKEN)):
        found = {each.rule for each in outcome.violations if each.act.host == host}
        assert "stale" in found, f"host {host}: {outcome.described}"
