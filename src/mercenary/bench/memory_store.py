"""What the store in memory costs by itself: nanoseconds of a look, and bytes of a node.

It holds as many nodes as 64 MiB hold answers, under keys like theirs, and looks are drawn by a Zipf
law, so that they miss the processor's own caches as those of requests do.
"""

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from resource import getpagesize
from typing import Final, TypeVar

from mercenary.bench import zipf
from mercenary.bench.costs import Cost
from mercenary.cache.memory import NODE_BYTES, Memory, Node

T = TypeVar("T")

_NODES: Final = 25_000
_SIZE: Final = 2_500
_LOOKS: Final = 50_000
_WEIGHED: Final = 200_000
_STATM: Final = Path("/proc/self/statm")


def measure(rounds: int) -> list[Cost]:
    """The costs of hits, misses, and of putting what pushes something out."""
    memory: Memory[Node] = Memory(_NODES * (NODE_BYTES + _SIZE))
    keys = [_key(number) for number in range(_NODES)]
    for key in keys:
        memory.put(Node(key, _SIZE))
    drawn = zipf.draw(range(_NODES), _LOOKS)
    hits = [keys[number] for number in drawn]
    misses = [_key(_NODES + number) for number in drawn]
    new = iter(range(_NODES, _NODES + rounds * _LOOKS))

    def look(keys: Sequence[bytes]) -> None:
        for key in keys:
            memory.get(key)

    def put(nodes: Sequence[Node]) -> None:
        for node in nodes:
            memory.put(node)

    return [
        _cost("store: a hit", rounds, lambda: _seconds(look, hits)),
        _cost("store: a miss", rounds, lambda: _seconds(look, misses)),
        _cost(
            "store: a node that pushes out another",
            rounds,
            lambda: _seconds(put, [Node(_key(next(new)), _SIZE) for _ in range(_LOOKS)]),
        ),
    ]


def node_bytes() -> float:
    """How much the process grows by for each node that is kept; ask while it is still small."""
    gc.collect()
    before = _resident()
    memory: Memory[Node] = Memory(_WEIGHED * (NODE_BYTES + _SIZE))
    for number in range(_WEIGHED):
        memory.put(Node(1000 + number, 1000 + number % _SIZE))
    return (_resident() - before) / len(memory)


def _cost(name: str, rounds: int, seconds: Callable[[], float]) -> Cost:
    times = [seconds() / _LOOKS for _ in range(rounds)]
    return Cost(name, [one * 1e6 for one in times], [1 / one for one in times], {})


def _seconds(work: Callable[[Sequence[T]], None], things: Sequence[T]) -> float:
    began = time.process_time()
    work(things)
    return time.process_time() - began


def _key(number: int) -> bytes:
    return b"GET /api/v1/projects/%d" % number


def _resident() -> int:
    """Bytes of this process that are in memory (proc_pid_statm(5))."""
    return int(_STATM.read_text().split()[1]) * getpagesize()
