"""The limit of requests in flight finds what a worker can do, on a clock of the test's own."""

import heapq
import itertools
from collections.abc import Callable
from statistics import mean

import pytest

from mercenary.edge.admission import QUEUE_TARGET, Admission
from mercenary.http.endpoint import Criticality

WRITE, READ, SEARCH = Criticality


class Clock:
    """Time that passes when the test says so, with callbacks that come `late` seconds late."""

    def __init__(self) -> None:
        self.now = 0.0
        self.late = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds + self.late, next(self._numbers), callback))

    def run_until(self, end: float) -> None:
        while self._due and self._due[0][0] <= end:
            self.now, _, callback = heapq.heappop(self._due)
            callback()
        self.now = end

    @property
    def idle(self) -> bool:
        return not self._due


class Server:
    """Serves one request after the other, `seconds` each, those whom admission lets in."""

    def __init__(self, clock: Clock, admission: Admission, seconds: float) -> None:
        self.clock = clock
        self.admission = admission
        self.seconds = seconds
        self.free_at = 0.0
        self.served = 0
        self.times: list[float] = []

    def offer(self, rate: float, seconds: float, criticality: Criticality = READ) -> float:
        """Have requests come at a rate a second; gives the share that was served."""
        start = self.clock.now
        offered = int(rate * seconds)
        before = self.admission.measures.admitted[criticality]
        for number in range(offered):
            self.clock.run_until(start + number / rate)
            if self.admission.admit(criticality):
                self._serve()
        self.clock.run_until(start + seconds)
        return (self.admission.measures.admitted[criticality] - before) / offered

    def _serve(self) -> None:
        arrived = self.clock.now
        begun = max(arrived, self.free_at)
        self.free_at = begun + self.seconds

        def leave() -> None:
            self.admission.leave(begun - arrived)
            self.times.append(self.clock.now - arrived)
            self.served += 1

        self.clock.later(self.free_at - arrived - self.clock.late, leave)


def admission_of(clock: Clock, *, least: int = 4, start: int = 256, most: int = 1024) -> Admission:
    return Admission(
        least=least, start=start, most=most, clock=lambda: clock.now, later=clock.later
    )


def server_of(seconds: float, **limits: int) -> Server:
    clock = Clock()
    return Server(clock, admission_of(clock, **limits), seconds)


@pytest.mark.parametrize("seconds", [0.0005, 0.002, 0.005])
@pytest.mark.parametrize("times", [1.3, 2, 5, 10])
def test_under_a_storm_it_serves_what_it_can_and_those_it_serves_wait_about_the_target(
    seconds: float, times: float
) -> None:
    server = server_of(seconds)
    server.offer(times / seconds, 5)
    before, start = server.served, server.clock.now
    server.times.clear()
    server.offer(times / seconds, 5)
    assert (server.served - before) * seconds >= 0.95 * (server.clock.now - start)
    assert 0.5 * QUEUE_TARGET < mean(server.times) < 2 * QUEUE_TARGET + seconds
    assert max(server.times) < 4 * QUEUE_TARGET


def test_after_the_storm_nobody_is_refused_and_the_limit_is_where_it_began() -> None:
    server = server_of(0.002)
    server.offer(5000, 5)
    assert server.admission.limit < 64
    server.offer(250, 1)
    assert server.offer(250, 9) == 1
    assert server.admission.limit == 256


def test_a_worker_that_can_do_more_lets_more_in() -> None:
    server = server_of(0.00002, start=16)
    assert server.offer(40_000, 1) > 0.9
    burst = [server.admission.admit(WRITE) for _ in range(1000)]
    assert sum(burst) < 1000
    for _ in range(sum(burst)):
        server.admission.leave(0)
    before = server.admission.limit
    for _ in range(100):
        while server.admission.admit(WRITE):
            pass
        for _ in range(server.admission.in_flight):
            server.admission.leave(0)
        server.clock.run_until(server.clock.now + 0.02)
    assert server.admission.limit > 2 * before


def test_a_loop_that_is_late_lets_fewer_in_whatever_the_database_does() -> None:
    clock = Clock()
    admission = admission_of(clock)
    clock.late = 0.05
    assert admission.admit(READ)
    clock.run_until(1)
    assert admission.limit < 64
    assert admission.measures.lag == pytest.approx(0.05)
    assert admission.measures.cuts > 3


def test_the_limit_keeps_between_its_bounds() -> None:
    clock = Clock()
    admission = admission_of(clock, least=4, most=300)
    clock.late = 0.5
    assert admission.admit(READ)
    clock.run_until(60)
    assert admission.limit == 4
    clock.late = 0.0
    for _ in range(1000):
        while admission.admit(WRITE):
            pass
        for _ in range(admission.in_flight - 1):
            admission.leave(0)
        clock.run_until(clock.now + 0.1)
    assert admission.limit == 300


def test_search_is_refused_before_reads_and_reads_before_writes() -> None:
    clock = Clock()
    admission = admission_of(clock, start=100)
    refused_at: dict[Criticality, int] = {}
    for number in range(101):
        for criticality in (SEARCH, READ, WRITE):
            if admission.admit(criticality):
                admission.leave(0)
            else:
                refused_at.setdefault(criticality, number)
        assert number == 100 or admission.admit(WRITE)
    assert refused_at == {SEARCH: 50, READ: 75, WRITE: 100}
    # With 50 to 100 in flight a search was refused each time, and so on; in the classes' order.
    assert admission.measures.refused == [1, 26, 51]


def test_each_class_has_room_for_one_at_least() -> None:
    admission = admission_of(Clock(), least=1, start=1)
    for criticality in Criticality:
        assert admission.admit(criticality)
        assert not admission.admit(WRITE)
        admission.leave(0)


@pytest.mark.parametrize("waits", [lambda n: n % 3 == 0, lambda n: n % 100 < 30])
def test_long_waits_of_a_few_for_one_thing_are_not_taken_for_load(
    waits: Callable[[int], bool],
) -> None:
    """Locks hold a third of the requests up for a second; they come back singly or in crowds."""
    clock = Clock()
    admission = admission_of(clock)
    for number in range(3000):
        clock.run_until(number * 0.002)
        assert admission.admit(WRITE)
        if waits(number):
            clock.later(1.0, lambda: admission.leave(1.0))
        else:
            clock.later(0.002, lambda: admission.leave(0.001))
    assert admission.limit == 256
    assert admission.measures.refused == [0, 0, 0]


def test_a_lock_on_which_everybody_waits_only_fills_the_places() -> None:
    clock = Clock()
    admission = admission_of(clock, start=32)
    for _ in range(50):
        admission.admit(WRITE)
    clock.run_until(5)  # nobody comes back, so nothing is known of the queue
    assert (admission.in_flight, admission.limit) == (32, 32)


def test_a_wait_elsewhere_leaves_the_place_to_others() -> None:
    clock = Clock()
    admission = admission_of(clock, least=1, start=1)
    assert admission.admit(WRITE)
    assert not admission.admit(WRITE)
    admission.step_out()
    assert admission.admit(WRITE)
    admission.step_in()  # goes on though the place has been taken
    assert admission.in_flight == 2


def test_a_worker_that_is_left_alone_recovers_and_keeps_no_timer() -> None:
    server = server_of(0.002)
    server.offer(5000, 5)
    server.clock.run_until(server.clock.now + 10)
    assert server.admission.limit == 256
    assert server.clock.idle


def test_an_idle_worker_keeps_no_timer() -> None:
    clock = Clock()
    admission = admission_of(clock)
    assert admission.admit(READ)
    admission.leave(0)
    clock.run_until(1)
    assert clock.idle
    assert admission.admit(READ)
    assert not clock.idle


@pytest.mark.parametrize("limits", [{"least": 0}, {"least": 300}, {"most": 100}])
def test_limits_out_of_order_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="in order"):
        admission_of(Clock(), **limits)
