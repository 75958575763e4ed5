"""What memory keeps: never more than its bound, and the popular through any scan."""

import gc
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mercenary.cache.memory import LARGEST_SHARE, NODE_BYTES, Memory, Node

KEYS = st.integers(0, 15)
SIZES = st.integers(0, 400)


class Kept(Node):
    """A node that can be told from its equals, and seen to go."""

    __slots__ = ("__weakref__", "serial")

    def __init__(self, key: Hashable, size: int = 0, serial: int = 0) -> None:
        super().__init__(key, size)
        self.serial = serial


class Listed:
    """A node of the model."""

    def __init__(self, key: int, size: int, serial: int) -> None:
        self.key = key
        self.bytes = NODE_BYTES + size
        self.serial = serial
        self.visited = False


class ListedSieve:
    """The model: SIEVE with a list, oldest first, and the hand a place in it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.queue: list[Listed] = []
        self.hand = 0
        self.evicted = 0
        self.refused = 0

    @property
    def size(self) -> int:
        return sum(one.bytes for one in self.queue)

    def find(self, key: int) -> Listed | None:
        return next((one for one in self.queue if one.key == key), None)

    def get(self, key: int) -> Listed | None:
        found = self.find(key)
        if found is not None:
            found.visited = True
        return found

    def put(self, new: Listed) -> None:
        before = self.find(new.key)
        if new.bytes > self.limit / LARGEST_SHARE:
            self.refused += 1
            self.remove(new.key)
        elif before is None:
            self.make_room(new.bytes, None)
            self.queue.append(new)
        else:
            new.visited = True
            self.queue[self.queue.index(before)] = new
            self.make_room(0, new)

    def resize(self, key: int, size: int) -> None:
        found = self.find(key)
        if found is not None:
            found.bytes = NODE_BYTES + size
            if found.bytes > self.limit / LARGEST_SHARE:
                self.refused += 1
                self.remove(key)
            else:
                self.make_room(0, found)

    def remove(self, key: int) -> None:
        found = self.find(key)
        if found is not None:
            place = self.queue.index(found)
            del self.queue[place]
            if place < self.hand:
                self.hand -= 1

    def clear(self) -> None:
        self.queue.clear()
        self.hand = 0

    def make_room(self, wanted: int, spared: Listed | None) -> None:
        while self.size + wanted > self.limit:
            if self.hand >= len(self.queue):
                self.hand = 0
            looked_at = self.queue[self.hand]
            if looked_at.visited:
                looked_at.visited = False
                self.hand += 1
            elif looked_at is spared:
                self.hand += 1
            else:
                del self.queue[self.hand]
                self.evicted += 1


class SameAsListed(RuleBasedStateMachine):
    """Whatever is done with it, the store keeps what the model keeps, in the same order."""

    @initialize(limit=st.integers(0, 30 * NODE_BYTES))
    def begin(self, limit: int) -> None:
        self.memory: Memory[Kept] = Memory(limit)
        self.model = ListedSieve(limit)
        self.serial = 0
        self.gone: list[Kept] = []

    @rule(key=KEYS, size=SIZES)
    def put(self, key: int, size: int) -> None:
        self.serial += 1
        self.memory.put(Kept(key, size, self.serial))
        self.model.put(Listed(key, size, self.serial))

    @rule(key=KEYS)
    def get(self, key: int) -> None:
        found, expected = self.memory.get(key), self.model.get(key)
        assert (found and found.serial) == (expected and expected.serial)

    @rule(key=KEYS, size=SIZES)
    def resize(self, key: int, size: int) -> None:
        node = self.memory.get(key)
        self.model.get(key)
        if node is not None:
            self.memory.resize(node, size)
            self.model.resize(key, size)

    @rule(key=KEYS, size=SIZES)
    def resize_what_was_removed(self, key: int, size: int) -> None:
        node = self.memory.get(key)
        self.memory.remove(key)
        self.model.remove(key)
        if node is not None:
            self.memory.resize(node, size)
            assert node.size == size

    @rule(key=KEYS)
    def remove(self, key: int) -> None:
        self.memory.remove(key)
        self.model.remove(key)

    @rule()
    def clear(self) -> None:
        self.memory.clear()
        self.model.clear()

    @invariant()
    def keeps_the_same(self) -> None:
        if hasattr(self, "memory"):
            assert [(one.key, one.serial, one.visited) for one in _queue(self.memory)] == [
                (one.key, one.serial, one.visited) for one in self.model.queue
            ]
            assert (self.memory.size, len(self.memory)) == (self.model.size, len(self.model.queue))
            assert (self.memory.evicted, self.memory.refused) == (
                self.model.evicted,
                self.model.refused,
            )
            assert self.memory.size <= self.memory.limit


TestSameAsListed = SameAsListed.TestCase


def _queue(memory: Memory[Kept]) -> Iterator[Kept]:
    """Oldest first; the links lead the same way in both directions, through every node kept."""
    ends: Any = memory._ends
    node = ends.newer
    while node is not ends:
        assert node.older.newer is node
        assert node.newer.older is node
        assert memory._nodes[node.key] is node
        yield node
        node = node.newer


def _room_for(nodes: int) -> int:
    return nodes * NODE_BYTES


def test_what_was_put_is_found_until_it_is_removed() -> None:
    memory: Memory[Kept] = Memory(_room_for(100))
    node = Kept("a")
    memory.put(node)
    assert memory.get("a") is node
    memory.remove("a")
    assert memory.get("a") is None
    assert memory.size == 0


def test_a_node_that_grows_pushes_out_others_and_stays() -> None:
    memory: Memory[Kept] = Memory(_room_for(16))
    for key in range(16):
        memory.put(Kept(key))
    first = memory._nodes[0]
    memory.resize(first, NODE_BYTES)
    assert memory.get(0) is first
    assert (memory.get(1), memory.evicted, memory.size) == (None, 1, memory.limit)


@pytest.mark.parametrize("popular_share", [0.25, 0.5, 0.75])
def test_a_scan_of_ten_times_the_bound_leaves_the_popular_in(popular_share: float) -> None:
    """Nobody even asks for them while it goes on; it pushes out only what came once, as it did."""
    memory: Memory[Kept] = Memory(_room_for(1000))
    popular = range(int(1000 * popular_share))
    for key in range(1000):
        memory.put(Kept(key))
    for key in popular:
        assert memory.get(key) is not None
    for key in range(1000, 11_000):
        assert memory.get(key) is None
        memory.put(Kept(key))
    assert [key for key in popular if memory.get(key) is None] == []


@pytest.mark.parametrize("limit", [300, 1000, 3000])
def test_popular_reads_among_scans_are_found_more_often_than_with_lru(limit: int) -> None:
    trace = list(_reads_among_scans(Random(7)))
    memory: Memory[Kept] = Memory(_room_for(limit))
    lru: OrderedDict[int, None] = OrderedDict()
    found = found_by_lru = 0
    for key in trace:
        if memory.get(key) is not None:
            found += 1
        else:
            memory.put(Kept(key))
        if key in lru:
            found_by_lru += 1
            lru.move_to_end(key)
        else:
            lru[key] = None
            if len(lru) > limit:
                lru.popitem(last=False)
    assert found > found_by_lru


def _reads_among_scans(random: Random) -> Iterator[int]:
    """Reads of 20,000 keys by a Zipf law, and after every 10,000 a walk through 5,000 others."""
    keys = range(20_000)
    weights = [1 / (1 + key) for key in keys]
    for walk in range(6):
        yield from random.choices(keys, weights, k=10_000)
        yield from range(20_000 + 5_000 * walk, 25_000 + 5_000 * walk)


def test_what_is_held_after_it_went_holds_no_other() -> None:
    memory: Memory[Kept] = Memory(_room_for(100))
    for key in range(3):
        memory.put(Kept(key))
    held = memory.get(1)
    neighbour = weakref.ref(memory._nodes[0])
    gc.disable()
    try:
        memory.remove(1)
        memory.clear()
        assert held is not None
        assert neighbour() is None
    finally:
        gc.enable()


def test_a_node_larger_than_its_part_is_not_kept_and_neither_is_what_it_replaces() -> None:
    memory: Memory[Kept] = Memory(_room_for(80))
    memory.put(Kept("a"))
    memory.put(Kept("a", _room_for(10)))
    assert memory.get("a") is None
    assert (memory.refused, memory.size) == (1, 0)
