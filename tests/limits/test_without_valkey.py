"""Limits while Valkey is away, killed or hanging, and what holds when it is back."""

import os
import signal

from mercenary.local.valkey import EmbeddedValkey
from tests.faults.conftest import eventually
from tests.limits.conftest import WORKERS, Flood, Floods, all_at_once
from tests.limits.flood import AT_ONCE, Order

# Short, since it is waited for; a busy machine mustn't look like a Valkey that hangs, though.
SECONDS = 2.0


def killed(server: EmbeddedValkey) -> None:
    send(server, signal.SIGKILL)
    eventually(lambda: server.child.pid is None, "Valkey is dead")


def hanging(server: EmbeddedValkey) -> None:
    send(server, signal.SIGSTOP)


def send(server: EmbeddedValkey, number: signal.Signals) -> None:
    assert server.child.pid is not None
    os.kill(server.child.pid, number)


def back(worker: Flood) -> bool:
    """Whether the worker has found that Valkey is back; its order is for nobody's requests."""
    _, counted = worker.asks(1, "nobody", requests=0)
    return counted is not None and not counted.away


def test_each_worker_grants_its_share_and_counts_it(
    floods: Floods, mortal: EmbeddedValkey, subject: str
) -> None:
    workers = floods(mortal.url(), WORKERS, seconds=SECONDS)
    for befallen in (hanging, killed):
        befallen(mortal)
        for limit in (1, 7, 100, 10_000):
            outcomes = all_at_once(workers, Order(limit, f"{befallen.__name__} {subject}"))
            assert [granted for granted, _ in outcomes] == [limit // WORKERS] * WORKERS
        for _, counted in outcomes:
            assert counted is not None
            assert counted.away
            # All but the first ones were decided without waiting for it.
            assert counted.failures <= AT_ONCE
            assert counted.alone >= 10_000 // WORKERS


def test_what_was_leased_stays_and_counts_towards_the_share(
    floods: Floods, mortal: EmbeddedValkey, subject: str
) -> None:
    rich, poor = floods(mortal.url(), 2, seconds=SECONDS)
    assert rich.asks(1_000, subject, requests=300)[0] == 300
    assert poor.asks(1_000, subject, requests=1)[0] == 1
    killed(mortal)
    still, _ = rich.asks(1_000, subject)
    assert still <= 1_000 // 50 + AT_ONCE  # what it held ahead
    assert poor.asks(1_000, subject)[0] == 1_000 // WORKERS - 1


def test_what_was_granted_alone_counts_once_valkey_is_back(
    floods: Floods, mortal: EmbeddedValkey, subject: str
) -> None:
    first, second = floods(mortal.url(), 2, seconds=SECONDS)
    hanging(mortal)
    alone, _ = first.asks(400, subject, requests=40)
    assert alone == 40
    send(mortal, signal.SIGCONT)
    eventually(lambda: back(first), "Valkey is back")
    assert first.asks(400, subject, requests=10)[0] == 10
    rest = second.asks(400, subject)[0] + first.asks(400, subject)[0]
    assert 40 + 10 + rest == 400


def test_a_refusal_ends_with_the_outage_that_it_came_from(
    floods: Floods, mortal: EmbeddedValkey, subject: str
) -> None:
    """A worker's share is soon used up; the limit isn't."""
    (worker,) = floods(mortal.url(), 1, seconds=SECONDS)
    killed(mortal)
    assert worker.asks(80, subject)[0] == 80 // WORKERS
    mortal.start()
    eventually(lambda: back(worker), "Valkey is back")
    assert worker.asks(80, subject)[0] == 80 - 80 // WORKERS
