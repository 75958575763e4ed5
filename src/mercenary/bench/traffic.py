"""What the callers ask: a usual request, and now and then a write.

A load generator gets it as a folder of small files, so that each of its threads or processes
reads the same tokens, ids and bodies and composes requests from them as it goes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

WRITE_SHARE: Final = 0.01
UNCACHED: Final = ("Cache-Control: no-cache",)
"""The line of a request that wants its answer from the database, whatever a cache has."""


class Ask(msgspec.Struct, frozen=True):
    """One kind of request. `{id}` in its path stands for a drawn id.

    `tokens` are the callers it comes from at random, none for guests; `bodies` are JSON texts of
    one line, of which each request gets one; `headers` are lines that each of them has.
    """

    method: str
    path: str
    tokens: Sequence[str] = ()
    bodies: Sequence[str] = ()
    headers: Sequence[str] = ()


@dataclass(frozen=True)
class Traffic:
    """A mix: `write` is asked in `write_share` of all requests (0 to 1) in place of `usual`.

    `ids` are what `{id}` stands for, one after the other: ids, or cursors of a list.
    """

    usual: Ask
    ids: Sequence[int | str]
    write: Ask | None = None
    write_share: float = WRITE_SHARE

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The kinds of request in it, the usual one first."""
        return (self.usual,) if self.write is None else (self.usual, self.write)


@dataclass(frozen=True)
class Target:
    """A server under load. `prefix` is the path that stands before every other, often empty."""

    host: str
    port: int
    tls: bool = False
    prefix: str = ""

    @property
    def authority(self) -> str:
        """Host and port as URLs and the Host header want them: IPv6 addresses in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"


class PlannedAsk(msgspec.Struct, frozen=True):
    """An ask without its lists. `keyed`: it carries a fresh Idempotency-Key, as a POST should.

    `lines` are its own lines of the head, each with its end.
    """

    method: str
    path: str
    keyed: bool
    lines: str


class Plan(msgspec.Struct, frozen=True):
    """What a generator's process needs besides the lists in `folder`. Times are seconds."""

    folder: str
    address: str
    port: int
    tls: bool
    host: str
    asks: list[PlannedAsk]
    write_share: float
    connections: int
    seconds: int
    seed: int
    run: str


def lay_out(
    traffic: Traffic,
    target: Target,
    folder: Path,
    *,
    connections: int,
    seconds: int,
    seed: int,
) -> Plan:
    """Write the lists into `folder`, one item on each line, and describe the rest.

    The lists are `ids`, and for the n-th ask `n.tokens` and `n.bodies`.
    """
    _write_lines(folder / "ids", map(str, traffic.ids))
    for number, ask in enumerate(traffic.asks):
        _write_lines(folder / f"{number}.tokens", ask.tokens)
        _write_lines(folder / f"{number}.bodies", ask.bodies)
    return Plan(
        folder=str(folder),
        address=target.host,
        port=target.port,
        tls=target.tls,
        host=target.authority,
        asks=[
            PlannedAsk(
                ask.method,
                target.prefix + ask.path,
                keyed=ask.method == "POST",
                lines="".join(f"{line}\r\n" for line in ask.headers),
            )
            for ask in traffic.asks
        ],
        write_share=traffic.write_share if traffic.write else 0.0,
        connections=connections,
        seconds=seconds,
        seed=seed,
        run=folder.name,
    )


def read_lines(folder: Path, name: str) -> list[str]:
    """A list of the folder, as `lay_out` wrote it."""
    return (folder / name).read_text(encoding="utf-8").splitlines()


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
