"""What one process keeps in its own memory: bounded in bytes, and left alone by a scan.

Use it for what is asked for again and again and costs more to find elsewhere. What is kept derives
from `Node` and holds whatever it likes; the store only knows its key and its size. One event loop
uses a store; nothing here is locked.

Room is made by SIEVE (Zhang et al., «SIEVE is Simpler than LRU», NSDI 2024). All stand in a queue
by the time they came. A hit only marks its node. When room is wanted, a hand goes from the oldest
towards the newest, takes a mark away where there is one and the node where there is none, and
stays where it stopped. What is asked for again stays at the old end and is passed by; what comes
once, as in a walk through everything, pushes out its own kind.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

NODE_BYTES: Final = 208
"""What a kept node takes beside the bytes of its size: itself and its place among the others.

Measured as what a process grows by when 200,000 nodes with numbers for keys come to stay, in
/proc/self/statm; `mercenary bench cache` measures it again. What a derived class adds, its key
included, belongs to the size.
"""
LARGEST_SHARE: Final = 8
"""A node may take this part of a store, so that none pushes out most of the others."""


class Node:
    """Something kept under its key, taking `size` bytes, which only `Memory.resize` changes.

    Its neighbours are the store's own affair, and are there while it is kept.
    """

    __slots__ = ("key", "newer", "older", "size", "visited")

    newer: "Node"
    older: "Node"

    def __init__(self, key: Hashable, size: int) -> None:
        self.key = key
        self.size = size
        self.visited = False
        """Whether somebody asked for it since the hand passed by."""


N = TypeVar("N", bound=Node)


class Memory(Generic[N]):
    """Nodes by their keys, which together never take more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        """Bytes taken now, `NODE_BYTES` for each node included."""
        self.evicted = 0
        """Nodes that had to make room so far."""
        self.refused = 0
        """Nodes so far that were too large to be kept."""
        self._nodes: dict[Hashable, N] = {}
        # Stands in the ring between the newest and the oldest; the hand there begins anew.
        self._ends = Node(None, 0)
        self._hand = self._ends
        self._join_ends()

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, key: Hashable) -> N | None:
        """What is kept under the key; it counts as asked for."""
        try:  # the quickest way to a hit; beside what a miss costs, the exception is nothing
            node = self._nodes[key]
        except KeyError:
            return None
        node.visited = True
        return node

    def put(self, node: N) -> None:
        """Keep a node, in the place of the one with its key, and make room for it.

        One that is too large isn't kept, and neither is the one whose place it would have taken.
        """
        before = self._nodes.get(node.key)
        if self._is_too_large(node.size):
            self.refused += 1
            if before is not None:
                self._drop(before)
            return
        if before is None:
            self._make_room(NODE_BYTES + node.size)
            self._link(self._ends.older, node, self._ends)
            self.size += NODE_BYTES + node.size
        elif before is not node:
            # Who fills a place again was asked for again.
            node.visited = True
            self._replace(before, node)
            self.size += node.size - before.size
        self._nodes[node.key] = node
        if self.size > self.limit:
            self._make_room(0, spared=node)

    def resize(self, node: N, size: int) -> None:
        """A node takes so many bytes from now on; others make room, or it goes if it is too large.

        A node that isn't kept, or no longer, only notes its size.
        """
        if self._nodes.get(node.key) is not node:
            node.size = size
        elif self._is_too_large(size):
            self.refused += 1
            self._drop(node)
            node.size = size
        else:
            self.size += size - node.size
            node.size = size
            self._make_room(0, spared=node)

    def remove(self, key: Hashable) -> None:
        """Keep nothing under the key any more."""
        node = self._nodes.get(key)
        if node is not None:
            self._drop(node)

    def clear(self) -> None:
        """Keep nothing any more."""
        for node in self._nodes.values():
            del node.older, node.newer
        self._nodes.clear()
        self.size = 0
        self._hand = self._ends
        self._join_ends()

    def _is_too_large(self, size: int) -> bool:
        return (NODE_BYTES + size) * LARGEST_SHARE > self.limit

    def _make_room(self, wanted: int, *, spared: Node | None = None) -> None:
        """Let the hand take nodes away, other than `spared`, until `wanted` bytes fit in."""
        most = self.limit - wanted
        node = self._hand
        while self.size > most:
            following = node.newer
            if node.visited:
                node.visited = False
            elif node is not spared and node is not self._ends:
                self._drop(node)
                self.evicted += 1
            node = following
        self._hand = node

    def _drop(self, node: Node) -> None:
        if node is self._hand:
            self._hand = node.newer
        node.older.newer = node.newer
        node.newer.older = node.older
        # Whoever still holds the node shouldn't hold its old neighbours with it.
        del node.older, node.newer
        del self._nodes[node.key]
        self.size -= NODE_BYTES + node.size

    def _replace(self, before: Node, node: Node) -> None:
        node.key = before.key  # one of two equal keys is enough
        if before is self._hand:
            self._hand = node
        self._link(before.older, node, before.newer)
        del before.older, before.newer

    def _link(self, older: Node, node: Node, newer: Node) -> None:
        node.older = older
        node.newer = newer
        older.newer = node
        newer.older = node

    def _join_ends(self) -> None:
        self._ends.older = self._ends.newer = self._ends
