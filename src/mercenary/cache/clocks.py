"""When what changed last: a table of clocks in memory that all processes of a host share.

A tag names what a kept answer shows (`project:17`, `projects`), and has a clock: a slot, found by
the tag's hash, that holds the stamp of the last change. Whoever keeps an answer reads the clocks of
its tags first and the database next; the answer counts while the clocks still show the same. A
change moves them after its COMMIT and before anybody is told of it, so every worker of the host
knows at once, for about 100 ns a look. Two tags in one slot are forgotten together, no worse.

What happened elsewhere arrives by `Listener`, which moves the same clocks and notes up to when
this host has heard of everything (`heard`).

No process locks anything here: whatever is stored into a slot is a value that was never in it
before, so that a store that overtakes another can make an answer be forgotten, and never remembered
again. Aligned 64-bit stores are atomic on the processors we run on.
"""

import mmap
import os
import tempfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import count
from pathlib import Path
from secrets import randbelow
from time import monotonic
from typing import Final
from urllib.parse import parse_qsl, urlsplit
from zlib import crc32

SLOTS: Final = 1 << 18
"""More than the resources that are changed within an entry's lifetime; 6 MiB, of which the kernel
gives what is touched."""
EVERYTHING: Final = "*"
"""The tag of every entry."""
MARK_SECONDS: Final = 15.0
"""After so long a change that is being written is given up: longer than any statement may take."""

_BEING_WRITTEN: Final = 1
_MICRO: Final = 1e6
_PAGE: Final = 4096
_WORD: Final = 8
_HEARD: Final = 1
_FIRST: Final = _PAGE // _WORD
# Of a slot: what the clock shows, until when Valkey can't know of our change, when it was moved by
# another's.
_SLOT_WORDS: Final = 3
_TOLD, _MOVED = 1, 2
SIZE: Final = _PAGE + _SLOT_WORDS * _WORD * SLOTS
"""Bytes of the table; what comes behind them in the file isn't the clocks'."""
# The layout's version, so that an older or newer server on the host has a table of its own.
_VERSION: Final = 2
STAMP_BITS: Final = 62
# Of them, those of a process and those of its numbers; the rest is the moment.
_PROCESS_BITS: Final = 15
_NUMBER_BITS: Final = 15
# How long a process may be held up between looking at the time and storing it: see `_date`.
_HELD_UP_SECONDS: Final = 0.005


def is_strict(tag: str) -> bool:
    """Whether the tag is one resource's, which nobody may see old; a list may be a second old."""
    return ":" in tag


@lru_cache(maxsize=65_536)
def slot_of(tag: str) -> int:
    """The tag's slot in every table, from 0; that of EVERYTHING is 0, and nobody else's."""
    return 0 if tag == EVERYTHING else 1 + crc32(tag.encode()) % (SLOTS - 1)


class Clocks:
    """One host's clocks. Without a `path` they are this process's alone.

    Raises:
        OSError: the file can't be made or belongs to somebody else; with `make` False, it isn't
            there.
    """

    def __init__(self, path: Path | None = None, *, make: bool = True) -> None:
        self.settled = 0
        """How many clocks this process's own changes have moved."""
        if path is None:
            self._map = mmap.mmap(-1, SIZE)
        else:
            handle = open_shared(path, SIZE, make=make)
            try:
                self._map = mmap.mmap(handle, SIZE)
            finally:
                os.close(handle)
        self._words = memoryview(self._map).cast("Q")
        self._process = (1 + randbelow((1 << _PROCESS_BITS) - 1)) << _NUMBER_BITS
        self._numbers = count(randbelow(1 << _NUMBER_BITS))
        if self.heard > monotonic():
            # A file that has outlived the machine's restart, with which its clock began anew.
            self._words[_HEARD] = 0

    @property
    def heard(self) -> float:
        """Up to this moment of the monotonic clock this host knows all that was committed."""
        return self._words[_HEARD] / _MICRO

    def hear(self, until: float) -> None:
        """Note that all that was committed before `until` has been applied here."""
        moment = int(until * _MICRO)
        if moment > self._words[_HEARD]:
            self._words[_HEARD] = moment

    def read(self, slot: int) -> int:
        """What the clock in a slot shows, to be compared with what it showed before."""
        return self._words[_FIRST + _SLOT_WORDS * slot]

    def read_all(self, slots: Sequence[int]) -> tuple[int, ...]:
        """What the clocks in these slots show."""
        words = self._words
        return tuple([words[_FIRST + _SLOT_WORDS * slot] for slot in slots])

    def moved(self, slots: Sequence[int]) -> float:
        """Since when these clocks have shown what they show, on the monotonic clock, or later.

        What moved them was committed before. So whoever has read a clock, and after that this, may
        read from what knows all that was committed before this moment.
        """
        words, last = self._words, 0
        for slot in slots:
            index = _FIRST + _SLOT_WORDS * slot
            last = max(last, words[index + _TOLD], words[index + _MOVED])
        return last / _MICRO

    def unmoved(self, slots: Sequence[int], shown: Sequence[int]) -> bool:
        """Whether the clocks in these slots still show this. It takes 0.2 µs for two of them."""
        words = self._words
        for slot, before in zip(slots, shown, strict=True):
            if words[_FIRST + _SLOT_WORDS * slot] != before:
                return False
        return True

    def is_told(self, slot: int) -> bool:
        """Whether Valkey knows of this host's last change there, which nobody is writing now."""
        index = _FIRST + _SLOT_WORDS * slot
        if self.is_being_written(self._words[index]):
            return False
        return self._words[index + _TOLD] < self._words[_HEARD]

    def is_being_written(self, shown: int) -> bool:
        """Whether what a clock shows is a change under way, during which nothing is kept."""
        if not shown & _BEING_WRITTEN:
            return False
        begun = shown >> 32
        return (_deciseconds() - begun) & 0xFFFFFFFF < MARK_SECONDS * 10

    def fresh(self) -> int:
        """A stamp that no other change has: `STAMP_BITS` bits, positive.

        The moment leads, by which marks expire. Those of one moment are told apart by the process,
        which draws its bits once, and by its count: 32,768 in 0.1 s. Random bits alone came twice
        in every tenth test of 10,000.
        """
        number = next(self._numbers) & ((1 << _NUMBER_BITS) - 1)
        return _deciseconds() << _PROCESS_BITS + _NUMBER_BITS | self._process | number

    def begin(self, tags: Iterable[str], stamp: int) -> None:
        """Mark the strict ones of these as being written.

        Whoever is killed between COMMIT and `settle` leaves nothing behind that looks current.
        """
        for tag in tags:
            if is_strict(tag):
                self._words[_FIRST + _SLOT_WORDS * slot_of(tag)] = stamp << 2 | _BEING_WRITTEN

    def settle(self, tags: Iterable[str], stamp: int) -> None:
        """Move the clocks of what has changed, or may have; whatever was kept is forgotten."""
        for tag in tags:
            index = _FIRST + _SLOT_WORDS * slot_of(tag)
            self._date(index + _TOLD)
            shown = self._words[index]
            if shown >> 2 == stamp or not self.is_being_written(shown):
                self._words[index] = stamp << 2
                self.settled += 1

    def apply(self, tags: Iterable[str], stamp: int) -> int:
        """Move clocks by a change that was announced; how many weren't moved by it already."""
        moved = 0
        for tag in tags:
            index = _FIRST + _SLOT_WORDS * slot_of(tag)
            shown = self._words[index]
            if shown == stamp << 2:
                continue
            self._date(index + _MOVED)
            if shown >> 2 == stamp or not self.is_being_written(shown):
                # Not to the stamp itself: another process may have been there, and gone on.
                self._words[index] = self.fresh() << 2
                moved += 1
        return moved

    def seconds_since(self, shown: int) -> float | None:
        """How long ago a clock that shows this was moved, to 0.1 s; None where it never was."""
        if shown == 0:
            return None
        return ((_deciseconds() - (shown >> 32)) & 0xFFFFFFFF) / 10

    def _date(self, index: int) -> None:
        """Store that a change was committed before now; if it is ours, Valkey can't know of it yet.

        Two that move one clock both store it, and the later change's must stay. Whoever was
        held up on the way may have stored over it, and stores again.
        """
        while True:
            now = monotonic()
            self._words[index] = int((now + _HELD_UP_SECONDS) * _MICRO)
            if monotonic() - now < _HELD_UP_SECONDS:
                return

    def move(self, tag: str) -> None:
        """Forget what was kept under a tag, without a change of ours: there's nothing to tell."""
        index = _FIRST + _SLOT_WORDS * slot_of(tag)
        self._date(index + _MOVED)
        self._words[index] = self.fresh() << 2

    def close(self) -> None:
        """Let the memory go."""
        self._words.release()
        self._map.close()


def open_shared(path: Path, size: int, *, make: bool = True) -> int:
    """A handle on the host's file, which is given at least `size` bytes and made if it is to be.

    Raises:
        OSError: it can't be made, belongs to somebody else, or isn't there.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if make else 0)
    handle = os.open(path, flags, 0o600)
    try:
        if os.fstat(handle).st_size < size:
            os.ftruncate(handle, size)
    except OSError:
        os.close(handle)
        raise
    return handle


def path_for(database_uri: str) -> Path:
    """Where the processes of a host that serve one database find each other's clocks.

    Named by where the database is, and by nothing that may differ between two ways to sign in
    there: everybody on the host can read the name.
    """
    parts = urlsplit(database_uri)
    hosts = [pair for pair in parse_qsl(parts.query) if pair[0] in ("host", "port")]
    address = f"{parts.netloc.rpartition('@')[2]}{parts.path} {hosts}"
    shared = Path("/dev/shm")  # noqa: S108 - the kernel's folder of shared memory
    folder = shared if shared.is_dir() else Path(tempfile.gettempdir())
    digest = sha256(f"{os.getuid()} {address}".encode()).hexdigest()[:16]
    return folder / f"mercenary-{digest}-{_VERSION}"


def _deciseconds() -> int:
    return int(monotonic() * 10) & 0xFFFFFFFF


_current: Clocks | None = None


def use(clocks: Clocks | None) -> None:
    """Make this the table of the process; None when it is closed."""
    global _current
    _current = clocks


def current() -> Clocks:
    """The table of the process; one that nobody shares where none was opened."""
    global _current
    if _current is None:
        _current = Clocks()
    return _current
