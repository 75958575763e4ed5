"""`mercenary bench overload`: what a storm of up to ten times its capacity does to a worker.

Capacity is found in a closed model. Then come, without a pause between them: half of it, 1, 2, 5
and 10 times as much at a fixed rate each (open arrivals), and half again. Everybody asks with
a token of their own; one in twenty posts a project, the others read and search by half, and none
of it is answered by a cache.

Refusing costs processor time, too, so ten times of a worker's capacity can only be refused where a
request costs far more than a refusal; and this side needs processor time to make the load. So the
database and the generator are kept to the last core and the API to the others, which parts what
refusing costs from what making the load does.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from mercenary.bench import facts, storm
from mercenary.bench.contenders import Place, private_stack
from mercenary.bench.marketplace import BASE, explore, project_bodies, searches
from mercenary.bench.open_load import Kind, Phase, Played, Score
from mercenary.bench.playing import lay_out, play
from mercenary.bench.processes import usage
from mercenary.bench.traffic import UNCACHED
from mercenary.settings import cores

TIMES: Final = (1, 2, 5, 10)
CALM_SHARE: Final = 0.5
# The most that a worker reaches in a closed model is reached by one of these.
CALLERS: Final = (16, 32, 64)
_MIX: Final = {"write": 0.05, "read": 0.475, "search": 0.475}
# Somewhat longer than the recovery may take, to see that it lasts.
_AFTERWARDS_SECONDS: Final = storm.RECOVERY_SECONDS + 5
_CONNECTIONS: Final = 4_000


@dataclass(frozen=True)
class Options:
    """`seconds` of each step; how many `workers`, and projects (`scale`), the stack has."""

    seconds: int = 10
    scale: str = "100k"
    workers: int = 1


def measure(options: Options, say: Callable[[str], None]) -> storm.Report:
    """Find the capacity, drive the steps, and judge; `say` gets a line for each step.

    Raises:
        SetupError: something is missing that the caller can mend, or the generator fails.
        StackError, ChildError: the stack can't be started.
    """
    say(f"Starting a private stack with {options.scale} projects …")
    with (
        private_stack(options.scale, options.workers) as place,
        tempfile.TemporaryDirectory(prefix="mercenary-storm-") as name,
    ):
        pinned = _pin(place)
        folder = Path(name)
        kinds = _lay_out(place, folder)
        warm_up = [Phase("warm up", options.seconds, callers=CALLERS[0])]
        closed = [
            Phase(f"{callers} callers", options.seconds, callers=callers) for callers in CALLERS
        ]
        played, _ = _play(place, folder, kinds, warm_up + closed, pinned)
        steps = storm.steps_of(played, warm_up + closed, list(_MIX))
        capacity = max(step.rate for step in steps[1:])
        say(f"Capacity: {capacity:,.0f} a second")
        phases = _phases(capacity, options.seconds)
        before = _busy_seconds(place)
        played, generator = _play(place, folder, kinds, phases, pinned)
        after = _busy_seconds(place)
    seconds = sum(phase.seconds for phase in phases)
    busy = {name: round((after[name] - before[name]) / seconds, 2) for name in after}
    busy["generator"] = round(generator / seconds, 2)
    busy["others"] = round(busy.pop("all") - sum(busy.values()), 2)
    rows = storm.steps_of(played, phases, list(_MIX))
    recovery = storm.recovery_of(played, phases, storm.unloaded_p99(rows))
    return storm.Report(
        machine=facts.machine(),
        commit=facts.commit(),
        command=facts.command(),
        rows=rows,
        verdicts=storm.judge(rows, recovery),
        detail={
            "scale": options.scale,
            "workers": options.workers,
            "seconds": options.seconds,
            "callers": len(place.product.callers.everybody),
            "mix": _MIX,
            "capacity": round(capacity, 1),
            "database_core": pinned,
            "busy": busy,
        },
    )


def _phases(capacity: float, seconds: int) -> list[Phase]:
    calm = CALM_SHARE * capacity
    return [
        Phase("unloaded", 2 * seconds, rate=calm),
        *(Phase(f"{times} x capacity", seconds, rate=times * capacity) for times in TIMES),
        Phase("afterwards", _AFTERWARDS_SECONDS, rate=calm),
    ]


def _lay_out(place: Place, folder: Path) -> list[Kind]:
    """Write what the requests are made of, and say how."""
    callers = place.product.callers
    market = explore(place.product.target, place.product.callers.everybody)
    projects = f"{BASE}/projects"
    budgets = [f"{budget}" for budget in range(100, 20_000, 7)]
    everybody = callers.everybody
    lay_out(
        folder,
        {
            "write": {"tokens": callers.clients, "bodies": project_bodies(market.skills)},
            "read": {"tokens": everybody, "fillings": budgets},
            "search": {"tokens": everybody, "fillings": searches()},
        },
    )
    return [
        Kind("write", _MIX["write"], "POST", projects),
        Kind("read", _MIX["read"], "GET", projects + "?min_budget={}", UNCACHED),
        Kind("search", _MIX["search"], "GET", projects + "?sort=-relevance&q={}", UNCACHED),
    ]


def _play(
    place: Place, folder: Path, kinds: list[Kind], phases: list[Phase], core: int | None
) -> tuple[Played, float]:
    """What one process on `core` saw that played these phases, and its seconds of processor."""
    target = place.product.target
    score = Score(
        str(folder), target.host, target.port, kinds, phases, connections=_CONNECTIONS, seed=1
    )
    return play(folder, score, core=core)


def _busy_seconds(place: Place) -> dict[str, float]:
    """Seconds of processor used so far by the stack, and by everything on this machine."""
    times = psutil.cpu_times()
    return {
        "api": usage(place.product.server_pid).cpu_seconds,
        "postgresql": usage(place.product.database_pid).cpu_seconds,
        "all": float(sum(times) - times.idle - getattr(times, "iowait", 0.0)),
    }


def _pin(place: Place) -> int | None:
    """Keep PostgreSQL to the last core and the API, with all its threads, to the others.

    Gives the last core, or None where there is only one or they can't be told apart.
    """
    if cores() < 2 or shutil.which("taskset") is None:
        return None
    *others, last = sorted(os.sched_getaffinity(0))
    for pid, allowed in ((place.product.database_pid, [last]), (place.product.server_pid, others)):
        if pid is not None:
            process = psutil.Process(pid)
            for each in (process, *process.children(recursive=True)):
                for thread in each.threads():
                    os.sched_setaffinity(thread.id, allowed)
    return last
