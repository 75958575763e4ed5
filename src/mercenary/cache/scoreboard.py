"""What the processes of a host have counted, where anybody on the host can read it.

A table in the file that holds the clocks: each process claims a row, and writes its counters there
about once a second. `mercenary cache stats` reads them all. A row is held by a lock on its first
byte, which the kernel lets go with the process, however that ends; by nothing else (a process
number means nothing in another container) is a row taken for dead.

Counters never fall. What a process that is gone had counted is added to row 0 by whoever gets its
row, so that totals go on when a worker is replaced. A server that was down for a minute begins
anew.
"""

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from mercenary.cache import clocks

ROWS: Final = 1024
"""More than the settings allow workers."""
ANEW_SECONDS: Final = 60.0
"""Where nobody has written for so long, the totals begin anew."""
COUNTER: Final = "_total"
"""Names that end so only ever grow, and are added up; the others are of the moment."""

_WORD: Final = 8
_ROW_WORDS: Final = 256  # 2 KiB; the kernel gives memory only for the rows that were used
_SCHEMA, _PID, _STARTED, _WRITTEN, _FIRST = range(5)
_SIZE: Final = clocks.SIZE + (ROWS + 1) * _ROW_WORDS * _WORD
_GONE: Final = 0
# In row 0 the place of the process number has how many rows were ever used.
_USED: Final = _PID

# struct flock as 64-bit Linux has it: type, whence, start, length, pid. The locks are those of an
# open file, not of a process: those would end with any other handle on the file that is closed.
_FLOCK: Final = struct.Struct("@hhqqi4x")


class Process(msgspec.Struct, frozen=True):
    """One process's counters. Moments are seconds since 1970."""

    pid: int
    started: float
    written: float
    values: dict[str, float]


class Board(msgspec.Struct, frozen=True):
    """What a host has counted since a moment: each process, those that are gone, and all of them.

    `others` is how many processes of another version there are, whose counters mean other things.
    """

    since: float
    processes: list[Process]
    gone: dict[str, float]
    others: int

    @property
    def totals(self) -> dict[str, float]:
        """All that was counted, and what is of the moment in the processes that live."""
        together = dict(self.gone)
        for process in self.processes:
            for name, value in process.values.items():
                together[name] = together.get(name, 0.0) + value
        return together


class Scoreboard:
    """The table of one host for counters of these names, in this order.

    Raises:
        OSError: the file can't be opened, or isn't there where it isn't to be made.
    """

    def __init__(self, path: Path, names: Sequence[str], *, make: bool = True) -> None:
        if len(names) > _ROW_WORDS - _FIRST:
            raise ValueError(f"a row holds {_ROW_WORDS - _FIRST} counters, not {len(names)}")
        self._names = tuple(names)
        # So that no process reads another version's counters for its own.
        self._schema = float(crc32("\n".join(names).encode()))
        self._handle = clocks.open_shared(path, _SIZE, make=make)
        self._map = mmap.mmap(self._handle, _SIZE)
        self._words = memoryview(self._map)[clocks.SIZE :].cast("d")
        self._row: int | None = None

    def claim(self) -> bool:
        """Take a row for this process; False where there is none."""
        with self._locked():
            self._begin_anew_if_over()
            for row in range(1, ROWS + 1):
                if self._lock(row):
                    self._bury(row)
                    self._row = row
                    at = row * _ROW_WORDS
                    self._words[at + _PID] = os.getpid()
                    self._words[at + _STARTED] = self._words[at + _WRITTEN] = time.time()
                    self._words[at + _SCHEMA] = self._schema
                    self._words[_USED] = max(self._words[_USED], row)
                    return True
        return False

    def write(self, values: Mapping[str, float]) -> None:
        """Put this process's counters into its row, if it has one."""
        if self._row is None:
            return
        at = self._row * _ROW_WORDS
        for place, name in enumerate(self._names, at + _FIRST):
            self._words[place] = values[name]
        self._words[at + _WRITTEN] = time.time()

    def read(self) -> Board:
        """What everybody has counted."""
        processes: list[Process] = []
        others = 0
        with self._locked():
            gone = self._counted(_GONE) if self._is_ours(_GONE) else {}
            for row in self._used_rows():
                if not self._is_ours(row):
                    others += self._is_held(row)
                elif self._is_held(row):
                    at = row * _ROW_WORDS
                    pid, started, written = self._words[at + _PID : at + _FIRST]
                    processes.append(Process(int(pid), started, written, self._values(row)))
                else:
                    for name, value in self._counted(row).items():
                        gone[name] = gone.get(name, 0.0) + value
            since = self._words[_STARTED]
        return Board(since, sorted(processes, key=lambda each: each.started), gone, others)

    def close(self) -> None:
        """Give the row back, and let the memory go."""
        self._words.release()
        self._map.close()
        os.close(self._handle)

    def _begin_anew_if_over(self) -> None:
        """Forget the totals of a server that is long gone, or of another version."""
        rows = self._used_rows()
        if any(map(self._is_held, rows)):
            return
        last = max([self._words[row * _ROW_WORDS + _WRITTEN] for row in rows], default=0.0)
        if time.time() - last > ANEW_SECONDS or not self._is_ours(_GONE):
            for row in (_GONE, *rows):
                self._empty(row)
            self._words[_STARTED] = time.time()
            self._words[_SCHEMA] = self._schema

    def _bury(self, row: int) -> None:
        """Add what a dead process had counted to what all of those had, and empty its row."""
        if self._is_ours(row) and self._is_ours(_GONE):
            for name, value in self._counted(row).items():
                self._words[_FIRST + self._names.index(name)] += value
        self._empty(row)

    def _empty(self, row: int) -> None:
        for place in range(row * _ROW_WORDS, (row + 1) * _ROW_WORDS):
            self._words[place] = 0.0

    def _used_rows(self) -> range:
        return range(1, int(self._words[_USED]) + 1)

    def _is_ours(self, row: int) -> bool:
        return self._words[row * _ROW_WORDS + _SCHEMA] == self._schema

    def _values(self, row: int) -> dict[str, float]:
        at = row * _ROW_WORDS + _FIRST
        return dict(zip(self._names, self._words[at : at + len(self._names)], strict=True))

    def _counted(self, row: int) -> dict[str, float]:
        values = self._values(row).items()
        return {name: value for name, value in values if name.endswith(COUNTER)}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Have the table alone: nobody else claims or reads meanwhile."""
        self._control(fcntl.F_OFD_SETLKW, fcntl.F_WRLCK, _GONE)
        try:
            yield
        finally:
            self._control(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, _GONE)

    def _lock(self, row: int) -> bool:
        """Take a row, if nobody has it."""
        try:
            self._control(fcntl.F_OFD_SETLK, fcntl.F_WRLCK, row)
        except BlockingIOError:
            return False
        return True

    def _is_held(self, row: int) -> bool:
        if row == self._row:
            return True
        return self._control(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, row) != fcntl.F_UNLCK

    def _control(self, command: int, kind: int, row: int) -> int:
        """Ask the kernel about the lock on a row's first byte; the kind of lock that it tells."""
        start = clocks.SIZE + row * _ROW_WORDS * _WORD
        told = fcntl.fcntl(self._handle, command, _FLOCK.pack(kind, os.SEEK_SET, start, 1, 0))
        return int(_FLOCK.unpack(told)[0])
