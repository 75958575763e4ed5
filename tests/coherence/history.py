"""What happened, as the clients saw it: who asked what, when, and what was answered.

The load writes it down, `judge` reads it. Times are `time.monotonic()` of one machine, in seconds:
`begin` is before the first byte was sent and `end` after the last one came, so that a clock read
late only ever excuses the product.

A thing is named by its kind and id (`project:17`, `user:3`, `proposal:5`, `session:2`), and each of
its states by the number of its version. Of a session the living one is 1 and the ended one 2.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

# What a reader was promised: the newest state at once on the host that acknowledged it and within
# a second elsewhere ("entity"); within a second everywhere ("list"); at once everywhere, because
# the answer is never kept ("database").
Promise = Literal["entity", "list", "database"]
State = Mapping[str, Any]
# For each field the values that let a thing be shown.
Filters = Mapping[str, tuple[Any, ...]]

ALIVE = 1
ENDED = 2


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One request and its answer: by which client, from which host and worker.

    `what` is the request and what is telling about the answer, for people.
    """

    begin: float
    end: float
    host: int
    client: str
    worker: str
    url: str
    what: str


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one thing. `act.end` is when it was acknowledged, if it was.

    One that wasn't may have happened, may not, and may still happen: its version is None, and its
    `state` holds only the fields that it would have set. A thing that was to be made, and whose id
    nobody was told, has a key of its own such as `project:?7`.
    """

    act: Act
    key: str
    version: int | None
    state: State


class Shown(msgspec.Struct, frozen=True):
    """A thing as an answer shows it; `state` holds the fields that were asked for."""

    version: int
    state: State


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one thing. `shown` is None where the answer said that there is none.

    `filters` say which states may be shown to this caller at all.
    """

    act: Act
    promise: Promise
    key: str
    shown: Shown | None
    filters: Filters = {}


class ListRead(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a page of a list, newest first.

    `oldest` is when its last item was created, if more may follow; older things aren't missed.
    `counts` are how many things pass some filters, where that was asked for.
    """

    act: Act
    promise: Promise
    kind: str
    items: Mapping[str, Shown]
    filters: Filters
    oldest: str | None = None
    counts: tuple[tuple[Filters, int], ...] = ()


class Fault(msgspec.Struct, frozen=True):
    """Something that was broken on purpose, and until when. Requests may fail, but not lie."""

    name: str
    begin: float
    end: float


class History(msgspec.Struct):
    """All of a round. Who wants to know that nothing was lost reads everything once in the end."""

    writes: list[Write] = []
    reads: list[Read] = []
    lists: list[ListRead] = []
    faults: list[Fault] = []
