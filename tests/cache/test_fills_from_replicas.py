"""A fill asks of a replica to know of whatever moved the entry's clocks, here and in Valkey."""

import time
from collections.abc import AsyncIterator

import pytest

from mercenary import freshness
from mercenary.freshness import BEYOND, Demand
from mercenary.local.valkey import EmbeddedValkey
from tests.cache.hosts import LISTED, ONE, Host

LSN = 4711


@pytest.fixture
async def host(valkey: EmbeddedValkey) -> AsyncIterator[Host]:
    host = Host(valkey.url())
    await host.valkey.ask(lambda redis: redis.flushall())
    yield host
    await host.close()


async def demanded(host: Host) -> Demand | None:
    """What a fill of the moment would ask of a replica."""
    seen: list[Demand | None] = []

    async def fill() -> int:
        seen.append(freshness.current())
        return 1

    await host.tiers.get(ONE, fill)
    return seen[0]


async def test_a_replica_must_know_of_what_moved_the_clocks_of_this_host(host: Host) -> None:
    before = time.monotonic()
    host.write("project:1")
    demand = await demanded(host)
    assert demand is not None
    assert before <= demand.moment <= time.monotonic() + 1.0
    assert demand.lsn == 0  # it is not put into Valkey, which doesn't know of the write yet


async def test_what_another_host_changed_must_be_known_from_when_it_was_heard(host: Host) -> None:
    before = time.monotonic()
    host.clocks.apply(["project:1"], host.clocks.fresh())
    demand = await demanded(host)
    assert demand is not None
    assert demand.moment >= before


async def test_what_is_put_into_valkey_must_know_of_all_that_was_announced_there(
    host: Host,
) -> None:
    await host.hear()
    told = [(host.clocks.fresh(), ["project:3"])]
    await host.relay.announce(told, since=time.monotonic(), lsn=LSN)
    demand = await demanded(host)
    assert demand is not None
    assert demand.lsn == LSN


@pytest.mark.parametrize("told", [[], [(1, ["project:3"])]], ids=["nothing", "a change"])
async def test_where_nobody_said_how_far_the_announcements_are_the_primary_fills(
    host: Host, told: list[tuple[int, list[str]]]
) -> None:
    await host.hear(told)
    demand = await demanded(host)
    assert demand is not None
    assert demand.lsn == BEYOND


async def test_a_new_epoch_takes_its_place_in_the_log_from_the_first_word(host: Host) -> None:
    for _ in range(2):
        since = time.monotonic()
        await host.relay.announce([], since=since, lsn=LSN)
    host.clocks.hear(since)
    demand = await demanded(host)
    assert demand is not None
    assert demand.lsn == LSN


async def test_who_fills_anew_keeps_to_what_the_caller_must_know_of(host: Host) -> None:
    seen: list[Demand | None] = []

    async def fill() -> int:
        seen.append(freshness.current())
        return 1

    freshness.allow(None)
    await host.tiers.force(LISTED, fill)
    host.write("projects")
    freshness.allow(Demand(lsn=LSN))
    await host.tiers.force(LISTED, fill)
    freshness.allow(None)
    assert seen[0] is None
    assert seen[1] is not None
    assert seen[1].lsn == LSN
    assert seen[1].moment > 0
