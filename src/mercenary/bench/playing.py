"""Plays a score of `open_load` in a process of its own, and acts as its phases begin."""

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from mercenary.bench import zipf
from mercenary.bench.contenders import Contender
from mercenary.bench.generator import GeneratorError, python_module
from mercenary.bench.marketplace import BASE, description_bodies
from mercenary.bench.open_load import PARTS, Kind, Phase, Played, Score, read_played
from mercenary.bench.traffic import WRITE_SHARE

_GRACE_SECONDS: Final = 60.0
READING: Final = 0
"""The number of the reads' kind in `reads_and_changes`."""


def lay_out(folder: Path, lists: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Write the lists that a score needs, by the names of its kinds and of their `PARTS`."""
    for name, parts in lists.items():
        for part in PARTS:
            text = "".join(f"{line}\n" for line in parts.get(part, ()))
            (folder / f"{name}.{part}").write_text(text, encoding="utf-8")


def reads_and_changes(
    folder: Path,
    contender: Contender,
    ranked: Sequence[int],
    phases: list[Phase],
    *,
    connections: int,
    exponent: float = zipf.EXPONENT,
    write_share: float = WRITE_SHARE,
    tokens: Sequence[str] | None = None,
) -> Score:
    """Reads of projects by everybody, or by these tokens, and a few changes by admins.

    Both are drawn from the same ranking, the first the most often.
    """
    callers, target = contender.callers, contender.target
    fillings = [f"{id}" for id in ranked]
    lists: dict[str, dict[str, Sequence[str]]] = {
        "read": {"tokens": tokens or callers.everybody, "fillings": fillings},
        "change": {
            "tokens": callers.admins,
            "bodies": description_bodies(),
            "fillings": fillings,
        },
    }
    lay_out(folder, lists)
    path = f"{BASE}/projects/{{}}"
    kinds = [
        Kind("read", 1 - write_share, "GET", path, exponent=exponent),
        Kind("change", write_share, "PATCH", path, exponent=exponent),
    ]
    return Score(str(folder), target.host, target.port, kinds, phases, connections, seed=1)


def play(
    folder: Path,
    score: Score,
    *,
    core: int | None = None,
    begins: Callable[[str], None] = lambda _: None,
) -> tuple[Played, float]:
    """What a process saw that played the score, and the seconds of processor that it used.

    It is kept to `core`, if any. `begins` is called with a phase's name as it begins.

    Raises:
        GeneratorError: it failed or got stuck.
    """
    path = folder / "score.json"
    path.write_bytes(msgspec.json.encode(score))
    command = python_module("mercenary.bench.open_load", str(path))
    before = os.times()
    with subprocess.Popen(  # noqa: S603 - our own module
        command if core is None else ["taskset", "--cpu-list", str(core), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        seconds = sum(phase.seconds for phase in score.phases) + _GRACE_SECONDS
        stuck = threading.Timer(seconds, process.kill)
        stuck.start()
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            for line in process.stdout:
                begins(line.strip())
            _, said = process.communicate()
        finally:
            stuck.cancel()
            process.kill()
    if process.returncode != 0:
        lines = said.strip().splitlines()
        raise GeneratorError(lines[-1] if lines else "it took far too long")
    after = os.times()
    used = after.children_user + after.children_system
    return read_played(folder), used - before.children_user - before.children_system
