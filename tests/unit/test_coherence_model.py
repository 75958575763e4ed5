"""The judge accepts every history of a model store with bounded lag, and none that was bent.

The model knows when each write was committed, which no client does. It shows each reader any
state that the contract allows by that; the judge, who knows only what clients saw, must find
nothing. Then one answer is bent beyond excuse, and the judge must find something.
"""

import random
from collections import defaultdict
from typing import NamedTuple

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.coherence.history import Act, History, ListRead, Promise, Read, Shown, Write
from tests.coherence.judge import judge

HOSTS, WORKERS, CLIENTS, THINGS = 2, 2, 3, 2
LAG = 1.0


class Change(NamedTuple):
    """A write as the store knows it; `committed` is None for one that never happened."""

    key: str
    begin: float
    committed: float | None
    end: float
    host: int
    acknowledged: bool


class Store:
    """Things whose changes take effect at one moment each, and readers that lag behind."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.history = History()
        # By thing: when each version was committed, and what its state is.
        self.commits: dict[str, list[float]] = defaultdict(list)
        self.acknowledged: list[tuple[float, int, str, int]] = []
        self.highest: dict[tuple[str, str, str, str], int] = {}

    def write(self, changes: int) -> None:
        """Make so many changes that overlap, after each thing was made."""
        planned = [Change(f"thing:{id}", 0.0, 0.01, 0.02, 0, True) for id in range(THINGS)]
        for _ in range(changes):
            begin = self.chance.uniform(0.1, 6)
            happens = self.chance.random() < 0.9
            committed = begin + self.chance.uniform(0.001, 0.5)
            planned.append(
                Change(
                    f"thing:{self.chance.randrange(THINGS)}",
                    begin,
                    committed if happens else None,
                    committed + self.chance.uniform(0.001, 0.3),
                    self.chance.randrange(HOSTS),
                    happens and self.chance.random() < 0.8,
                )
            )
        for change in sorted(planned, key=lambda change: change.committed or 0.0):
            self._store(change)

    def _store(self, change: Change) -> None:
        version = None
        if change.committed is not None:
            self.commits[change.key].append(change.committed)
            version = len(self.commits[change.key])
        if change.acknowledged and version is not None:
            self.acknowledged.append((change.end, change.host, change.key, version))
        else:
            version = None
        worker = f"{change.host}{self.chance.randrange(WORKERS)}"
        act = Act(
            begin=change.begin, end=change.end, host=change.host, client="writer", worker=worker,
            url=change.key, what="",
        )  # fmt: skip
        state = {} if version is None else {"content": version}
        self.history.writes.append(Write(act=act, key=change.key, version=version, state=state))

    def read(self, reads: int) -> None:
        """Let every client look so many times, one look after the other."""
        for number in range(CLIENTS):
            time = 0.05
            for _ in range(reads):
                begin = time + self.chance.uniform(0.0, 1.0)
                time = begin + self.chance.uniform(0.0, 0.3)
                self._look(f"reader-{number}", begin, time)

    def _look(self, client: str, begin: float, end: float) -> None:
        host = self.chance.randrange(HOSTS)
        worker = f"{host}{self.chance.randrange(WORKERS)}"
        if self.chance.random() < 0.3:
            act = Act(
                begin=begin, end=end, host=host, client=client, worker=worker, url="/l", what=""
            )
            items = {
                key: self._show(key, act, "list") for key in (f"thing:{id}" for id in range(THINGS))
            }
            self.history.lists.append(
                ListRead(act=act, promise="list", kind="thing", items=items, filters={})
            )
        else:
            key = f"thing:{self.chance.randrange(THINGS)}"
            promise: Promise = "database" if self.chance.random() < 0.2 else "entity"
            act = Act(
                begin=begin, end=end, host=host, client=client, worker=worker, url=key, what=""
            )
            shown = self._show(key, act, promise)
            self.history.reads.append(Read(act=act, promise=promise, key=key, shown=shown))

    def _show(self, key: str, act: Act, promise: Promise) -> Shown:
        """Any version between the oldest that is allowed and the newest that was there by then."""
        oldest = self._committed(key, act.begin - (0.0 if promise == "database" else LAG))
        if promise == "entity":
            oldest = max([oldest, *self._told(key, act)])
        place = (act.client, act.worker, act.url, key)
        oldest = max(oldest, self.highest.get(place, 1))
        version = self.chance.randint(oldest, self._committed(key, act.end))
        self.highest[place] = version
        return Shown(version, {"content": version})

    def _committed(self, key: str, time: float) -> int:
        return sum(committed <= time for committed in self.commits[key])

    def _told(self, key: str, act: Act) -> list[int]:
        return [
            version
            for end, host, thing, version in self.acknowledged
            if thing == key and host == act.host and end < act.begin
        ]

    def too_old(self, read: Read) -> list[int]:
        """The versions before one that was acknowledged on the reader's host: past any excuse."""
        return list(range(1, max(self._told(read.key, read.act), default=1)))


def history_of(seed: int, changes: int, reads: int) -> Store:
    store = Store(random.Random(seed))
    store.write(changes)
    store.read(reads)
    return store


stores = st.builds(
    history_of, st.integers(0, 2**32), changes=st.integers(0, 20), reads=st.integers(0, 20)
)
busy_stores = st.builds(
    history_of, st.integers(0, 2**32), changes=st.integers(8, 20), reads=st.integers(8, 20)
)


@settings(max_examples=300, deadline=None)
@given(store=stores)
def test_whatever_the_contract_allows_is_accepted(store: Store) -> None:
    assert judge(store.history) == []


@settings(max_examples=150, deadline=None)
@given(store=busy_stores, chance=st.randoms(use_true_random=False))
def test_an_answer_from_before_an_acknowledged_write_is_found(
    store: Store, chance: random.Random
) -> None:
    reads = store.history.reads
    bent = [index for index, read in enumerate(reads) if store.too_old(read)]
    assume(bent)
    index = chance.choice(bent)
    version = chance.choice(store.too_old(reads[index]))
    reads[index] = replace(reads[index], shown=Shown(version, {}))
    assert "stale" in {violation.rule for violation in judge(store.history)}


@settings(max_examples=150, deadline=None)
@given(store=busy_stores, chance=st.randoms(use_true_random=False))
def test_a_list_of_more_than_a_second_ago_is_found(store: Store, chance: random.Random) -> None:
    bent = []
    for index, page in enumerate(store.history.lists):
        for end, _, key, version in store.acknowledged:
            if end < page.act.begin - LAG and version > 1:
                bent.append((index, key, version - 1))
    assume(bent)
    index, key, version = chance.choice(bent)
    page = store.history.lists[index]
    items = {**page.items, key: Shown(version, {})}
    store.history.lists[index] = replace(page, items=items)
    assert "stale" in {violation.rule for violation in judge(store.history)}


@settings(max_examples=150, deadline=None)
@given(store=busy_stores, chance=st.randoms(use_true_random=False))
def test_a_thing_that_vanishes_is_found(store: Store, chance: random.Random) -> None:
    """Each thing was made at the beginning, so everybody is owed it from 1.02 s on."""
    late = [index for index, page in enumerate(store.history.lists) if page.act.begin > 1.1]
    assume(late)
    index = chance.choice(late)
    page = store.history.lists[index]
    store.history.lists[index] = replace(page, items=dict(list(page.items.items())[1:]))
    assert "missing" in {violation.rule for violation in judge(store.history)}


@settings(max_examples=150, deadline=None)
@given(store=busy_stores, chance=st.randoms(use_true_random=False))
def test_an_acknowledged_write_that_was_overwritten_is_found(
    store: Store, chance: random.Random
) -> None:
    writes = store.history.writes
    told = [index for index, write in enumerate(writes) if (write.version or 1) > 1]
    assume(told)
    index = chance.choice(told)
    version = (writes[index].version or 0) - 1
    before = {write.version for write in writes if write.key == writes[index].key}
    assume(version in before)
    writes[index] = replace(writes[index], version=version)
    assert "lost" in {violation.rule for violation in judge(store.history)}


@settings(max_examples=150, deadline=None)
@given(store=busy_stores, chance=st.randoms(use_true_random=False))
def test_another_content_is_found(store: Store, chance: random.Random) -> None:
    reads = store.history.reads
    assume(reads)
    index = chance.randrange(len(reads))
    shown = reads[index].shown
    assert shown is not None
    told = {(key, version) for _, _, key, version in store.acknowledged}
    assume((reads[index].key, shown.version) in told)
    reads[index] = replace(reads[index], shown=replace(shown, state={"content": "another"}))
    assert "altered" in {violation.rule for violation in judge(store.history)}
