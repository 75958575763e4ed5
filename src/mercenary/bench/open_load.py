"""Load in an open model: requests come when they are due, however slow the answers are.

One process on asyncio's bare protocols plays a score of phases without a pause, each with a rate.
A request is due at a moment drawn beforehand (a Poisson process), and counts from that moment on,
also where this side was late in sending it. A phase with `callers` is closed instead: so many ask
again as soon as they are answered, which finds the most that there is to reach.

The process runs this module with the path of its score, prints each phase's name as it begins, and
leaves what it saw beside the score.
"""

import asyncio
import gc
import random
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate, count
from pathlib import Path
from typing import Final, cast

import msgspec
import uvloop

from mercenary.bench.http_answers import Answer, AnswerReader
from mercenary.bench.traffic import read_lines

# Requests due within a tick are sent together; the loop sleeps no finer anyway.
_TICK_SECONDS: Final = 0.001
# How long answers are waited for when the last phase is over, in seconds.
_PATIENCE_SECONDS: Final = 5.0
NO_ANSWER: Final = 0
_DRAWN_AT_ONCE: Final = 4096


class Kind(msgspec.Struct, frozen=True):
    """One kind of request: `weight` of all; `{}` in its path stands for one of `fillings`.

    The score's folder holds the lists that `name` begins: tokens, bodies and fillings, which are
    drawn by Zipf's law, the first the most often; with `exponent` 0 all alike. `lines` are further
    lines of the head.
    """

    name: str
    weight: float
    method: str
    path: str
    lines: Sequence[str] = ()
    exponent: float = 0.0


class Phase(msgspec.Struct, frozen=True):
    """So many seconds at `rate` requests a second, or with `callers` in a closed model."""

    name: str
    seconds: float
    rate: float = 0.0
    callers: int = 0


class Score(msgspec.Struct, frozen=True):
    """What a process plays against which server."""

    folder: str
    address: str
    port: int
    kinds: list[Kind]
    phases: list[Phase]
    connections: int
    seed: int


class Played(msgspec.Struct, frozen=True):
    """Of each request, in columns: its phase, kind and status (`NO_ANSWER` for none).

    `filling` is the number of what it asked about, in its kind's list; `cache` the number, of
    `CACHE_WORDS`, of what X-Cache said. `due` is when it should have been
    sent, in nanoseconds since the beginning; `late` how much later it was sent; `took` the time
    from the sending to the whole answer.
    """

    phase: "array[int]"
    kind: "array[int]"
    filling: "array[int]"
    status: "array[int]"
    cache: "array[int]"
    due: "array[int]"
    late: "array[int]"
    took: "array[int]"


COLUMNS: Final = {
    "phase": "B",
    "kind": "B",
    "filling": "l",
    "status": "H",
    "cache": "B",
    "due": "q",
    "late": "q",
    "took": "q",
}


class Composer:
    """Makes the requests' bytes, all but what must be new in each."""

    def __init__(self, score: Score) -> None:
        folder = Path(score.folder)
        self._random = random.Random(score.seed)  # noqa: S311 - a workload, no secret
        self._weights = list(accumulate(kind.weight for kind in score.kinds))
        self._numbers = count(1)
        self._run = f"{score.port}-{time.time_ns():x}"
        self._host = f"{score.address}:{score.port}"
        self._kinds = [
            (
                kind,
                {part: read_lines(folder, f"{kind.name}.{part}") for part in PARTS},
                "".join(f"{line}\r\n" for line in kind.lines),
            )
            for kind in score.kinds
        ]
        self._fillings = [
            self._drawn(len(lists["fillings"]), kind.exponent) for kind, lists, _ in self._kinds
        ]

    def next(self) -> tuple[int, int, bytes]:
        """A request's kind and filling, by their numbers, and its bytes."""
        drawn = self._random.random() * self._weights[-1]
        number = next(n for n, weight in enumerate(self._weights) if drawn < weight)
        kind, lists, lines = self._kinds[number]
        choice, path = self._random.choice, kind.path
        filling = 0
        if lists["fillings"]:
            filling = next(self._fillings[number])
            path = path.replace("{}", lists["fillings"][filling])
        head = (
            f"{kind.method} {path} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Authorization: Bearer {choice(lists['tokens'])}\r\n"
            f"{lines}"
        )
        if not lists["bodies"]:
            return number, filling, f"{head}\r\n".encode()
        body = choice(lists["bodies"])
        if kind.method == "POST":
            head += f"Idempotency-Key: {self._run}-{next(self._numbers)}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return number, filling, f"{head}{body}".encode()

    def _drawn(self, count: int, exponent: float) -> Iterator[int]:
        weights = list(accumulate((1 + rank) ** -exponent for rank in range(count)))
        while True:
            yield from self._random.choices(range(count), cum_weights=weights, k=_DRAWN_AT_ONCE)


PARTS: Final = ("tokens", "bodies", "fillings")


class Connection(asyncio.Protocol):
    """One connection: sends a request when it is free, and tells of its answer."""

    def __init__(self, player: "Player") -> None:
        self._player = player
        self._reader = AnswerReader()
        self.row: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the first request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own isn't a subclass
        self._player.is_free(self)

    def send(self, row: int, request: bytes) -> None:
        """Send the request that has this row."""
        self.row = row
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take the next part of an answer."""
        answer = self._reader.feed(data)
        if answer is None or self.row is None:
            return
        row, self.row = self.row, None
        self._player.answered(row, answer)
        if answer.closes:
            self._transport.close()
        else:
            self._player.is_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave an answer that never came without a status."""
        del exc
        self._player.lost(self)


class Player:
    """Plays a score."""

    def __init__(self, score: Score) -> None:
        self._score = score
        self._composer = Composer(score)
        self._columns = {name: array(code) for name, code in COLUMNS.items()}
        self._sent: list[int] = []
        self._free: deque[Connection] = deque()
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._connections = 0
        self._open = 0
        self._connecting: set[asyncio.Task[None]] = set()
        self._start = 0
        self._closed_until = 0
        self._phase = 0

    async def run(self) -> None:
        """Play all phases, one after the other."""
        gc.collect()
        gc.disable()
        self._start = time.perf_counter_ns()
        begin = 0.0
        for number, phase in enumerate(self._score.phases):
            self._phase = number
            print(phase.name, flush=True)  # noqa: T201 - to whoever acts when it begins
            end = begin + phase.seconds
            if phase.callers:
                await self._play_closed(phase.callers, end)
            else:
                await self._play_open(phase.rate, begin, end)
            begin = end
        until = time.perf_counter() + _PATIENCE_SECONDS
        while self._open and time.perf_counter() < until:  # noqa: ASYNC110 - a count has no event
            await asyncio.sleep(_TICK_SECONDS)

    async def _play_closed(self, callers: int, end: float) -> None:
        self._closed_until = int(end * 1e9)
        for _ in range(callers):
            self._ask(self._now())
        while self._now() < self._closed_until:  # noqa: ASYNC110 - nor has the clock
            await asyncio.sleep(_TICK_SECONDS)

    async def _play_open(self, rate: float, begin: float, end: float) -> None:
        source = random.Random(self._score.seed + self._phase)  # noqa: S311 - a workload
        due = begin + source.expovariate(rate)
        while due < end:
            now = self._now() / 1e9
            while due <= now and due < end:
                self._ask(int(due * 1e9))
                due += source.expovariate(rate)
            await asyncio.sleep(_TICK_SECONDS)

    def _now(self) -> int:
        return time.perf_counter_ns() - self._start

    def _ask(self, due: int) -> None:
        kind, filling, request = self._composer.next()
        row = len(self._sent)
        columns = self._columns
        columns["phase"].append(self._phase)
        columns["kind"].append(kind)
        columns["filling"].append(filling)
        columns["due"].append(due)
        for name in ("status", "cache", "late", "took"):
            columns[name].append(0)
        self._sent.append(0)
        self._open += 1
        self._waiting.append((row, request))
        if self._free:
            self.is_free(self._free.popleft())
        elif self._connections < self._score.connections:
            self._connections += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def is_free(self, connection: Connection) -> None:
        """Send what is due the longest, or keep the connection for what comes next."""
        if not self._waiting:
            self._free.append(connection)
            return
        row, request = self._waiting.popleft()
        self._sent[row] = now = self._now()
        self._columns["late"][row] = now - self._columns["due"][row]
        connection.send(row, request)

    def answered(self, row: int, answer: Answer) -> None:
        """Note an answer; in a closed phase, ask again."""
        now = self._now()
        self._columns["status"][row] = answer.status
        self._columns["cache"][row] = answer.cache
        self._columns["took"][row] = now - self._sent[row]
        self._open -= 1
        if now < self._closed_until:
            self._ask(now)

    def lost(self, connection: Connection) -> None:
        """Note that a connection has gone, with or without an answer under way."""
        self._connections -= 1
        if connection.row is not None:
            self._open -= 1
            connection.row = None
        elif connection in self._free:
            self._free.remove(connection)

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: Connection(self), self._score.address, self._score.port
            )
        except OSError:
            self._connections -= 1
            if self._waiting:  # it gets no answer, which is what its caller would see
                self._waiting.popleft()
                self._open -= 1

    def write(self, folder: Path) -> None:
        """Leave the columns in files of their names."""
        for name, column in self._columns.items():
            (folder / f"{name}.column").write_bytes(column.tobytes())


def read_played(folder: Path) -> Played:
    """What a process left in its score's folder."""
    columns = {}
    for name, code in COLUMNS.items():
        columns[name] = array(code)
        columns[name].frombytes((folder / f"{name}.column").read_bytes())
    return Played(**columns)


def main(path: Path) -> None:
    """Play the score in this file."""
    player = Player(msgspec.json.decode(path.read_bytes(), type=Score))
    uvloop.run(player.run())
    player.write(path.parent)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
