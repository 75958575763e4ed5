"""What is kept: a value, what it shows, and how long it may be given out.

An entry that was filled at a moment knows all that was committed before it. From then on its tags'
clocks tell of changes on this host, at once, and of changes elsewhere, as far as the host has heard
(`Clocks.heard`). So an entry is current while its clocks are unmoved and either it is young or the
last word is. A list, whose clock moves with each change of whatever it might show, may be given out
while it is young in any case, so that a stream of writes makes no reader wait for the database.
"""

from collections.abc import Callable
from enum import IntEnum
from hashlib import blake2b
from math import log
from random import random
from typing import Any, Final, Generic, TypeVar

from mercenary.cache.clocks import EVERYTHING, Clocks, is_strict, slot_of
from mercenary.cache.memory import Node

V = TypeVar("V")

# The contract lets lists and other hosts be a second behind. What is left of it is for the way of
# the answer, and of the word.
YOUNG_SECONDS: Final = 0.75
HEARD_SECONDS: Final = 0.9
LATE_SHARE: Final = 0.1
"""Past its lifetime an entry is given out for this part of it, while one caller renews it."""
JITTER: Final = 0.1
"""Lifetimes are shorter by up to this part, so that what was filled together doesn't end so."""
_DIGEST_BYTES: Final = 16
_NEVER: Final = float("-inf")


class Codec(Generic[V]):
    """How a value becomes bytes for Valkey, and back.

    Its bytes count as its size, and so does the `overhead` of the value that is made of them.
    """

    def __init__(
        self, encode: Callable[[V], bytes], decode: Callable[[bytes], V], *, overhead: int = 0
    ) -> None:
        self.encode = encode
        self.decode = decode
        self.overhead = overhead


class Want(Generic[V]):
    """What is asked of a cache: the full key, its tags, and how the value is stored.

    `key` must tell apart whatever differs. `seconds` is the lifetime where it isn't the cache's.
    """

    __slots__ = ("codec", "key", "relaxed", "seconds", "slots", "tags")

    def __init__(
        self, key: bytes, tags: tuple[str, ...], codec: Codec[V], seconds: float | None = None
    ) -> None:
        self.key = key
        self.tags = tags
        self.codec = codec
        self.seconds = seconds
        self.slots = (slot_of(EVERYTHING), *map(slot_of, tags))
        self.relaxed = not any(map(is_strict, tags))

    @property
    def digest(self) -> str:
        """The key's name in Valkey."""
        return blake2b(self.key, digest_size=_DIGEST_BYTES).hexdigest()


class Standing(IntEnum):
    """Whether a kept entry counts; what doesn't is a cause of a miss."""

    CURRENT = 0
    DUE = 1
    """It counts, and somebody should renew it."""
    MOVED = 2
    EXPIRED = 3
    UNHEARD = 4
    """Changes elsewhere may have been missed: the relay's word is too old."""


class Coverage:
    """What the clocks showed when somebody began to read: what the value knows of."""

    __slots__ = ("begun", "filled", "may_be_kept", "relaxed", "shown", "slots")

    def __init__(self, want: Want[Any], clocks: Clocks, now: float) -> None:
        self.slots = want.slots
        self.relaxed = want.relaxed
        self.shown = clocks.read_all(want.slots)
        # Judged now and not when it is read: under a mark that expires in between, nobody has moved
        # these clocks for what was announced meanwhile.
        self.may_be_kept = not any(map(clocks.is_being_written, self.shown))
        self.begun = now
        # Knows all that was committed before; never young where that was found out by others.
        self.filled = now

    def by_hearsay(self) -> "Coverage":
        """The coverage of what was found in Valkey: it knows as much as this host has heard of."""
        self.filled = _NEVER
        return self

    def lean_on(self, other: "Coverage") -> None:
        """Count no longer than something kept that this was made of: a page with a kept total."""
        ours = zip(self.slots, self.shown, strict=True)
        clocks = dict.fromkeys([*ours, *zip(other.slots, other.shown, strict=True)])
        self.slots = tuple(slot for slot, _ in clocks)
        self.shown = tuple(shown for _, shown in clocks)
        self.relaxed = self.relaxed and other.relaxed
        self.may_be_kept = self.may_be_kept and other.may_be_kept
        self.filled = min(self.filled, other.filled)

    @property
    def knows_all(self) -> bool:
        """Whether it knows all that was committed when the reading began."""
        return self.filled >= self.begun

    def stands(self, clocks: Clocks, now: float) -> Standing:
        """Whether it still counts at a moment."""
        young = now - self.filled < YOUNG_SECONDS
        if clocks.unmoved(self.slots, self.shown):
            if young or now - clocks.heard < HEARD_SECONDS:
                return Standing.CURRENT
            return Standing.UNHEARD
        if self.relaxed and young:
            late = now - self.filled > YOUNG_SECONDS / 2
            return Standing.DUE if late else Standing.CURRENT
        return Standing.MOVED


class Entry(Node, Generic[V]):
    """A kept value. `seconds` is what is left of its lifetime, `cost` what filling it took."""

    __slots__ = ("coverage", "due", "ends", "renewing", "value")

    def __init__(
        self,
        want: Want[V],
        value: V,
        size: int,
        coverage: Coverage,
        *,
        seconds: float,
        cost: float,
        now: float,
    ) -> None:
        super().__init__(want.key, size)
        self.value = value
        self.coverage = coverage
        self.renewing = False
        # Early by chance, the more so the longer it takes (Vattani et al., «Optimal Probabilistic
        # Cache Stampede Prevention», VLDB 2015); drawn once an entry instead of with every hit.
        self.due = now + seconds * (1 - JITTER * random()) + cost * log(1 - random())  # noqa: S311
        self.ends = now + seconds * (1 + LATE_SHARE)

    def stands(self, clocks: Clocks, now: float) -> Standing:
        """Whether it may be given out."""
        if now >= self.ends:
            return Standing.EXPIRED
        standing = self.coverage.stands(clocks, now)
        if now < self.due or standing > Standing.DUE:
            return standing
        return Standing.DUE

    def postpone(self, until: float) -> None:
        """Let nobody try to renew it before a moment: it didn't work."""
        self.due = until
        self.renewing = False
