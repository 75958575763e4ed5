"""`mercenary bench connections`: thousands of callers at once, each with a connection of its own.

What the guide calls "Concurrent Users: 10,000+": every one stays connected and asks every 5 to 15
seconds, as people do who read what they were answered.
"""

import math
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import msgspec

from mercenary.bench import contenders, facts, load, patient_load, zipf
from mercenary.bench.api import Asks
from mercenary.bench.contenders import Contender, Place
from mercenary.bench.generator import GeneratorError, percentile
from mercenary.bench.interrupt import ctrl_c_noted
from mercenary.bench.marketplace import explore
from mercenary.bench.patient_load import PAUSES, Part, Seen
from mercenary.bench.processes import usage, workers_rss
from mercenary.bench.report import PRODUCT, Floor, Measurement, Report, Row, Verdict, judge
from mercenary.bench.traffic import WRITE_SHARE, Plan, Traffic, lay_out
from mercenary.local.open_files import allow_open_files
from mercenary.settings import FIELDS, SetupError, cores, variable

ROW: Final = "connections"
CONNECTIONS: Final = 10_000
P95_MS: Final = 100.0
# MiB of a worker: before anybody has connected, and for each 5,000 connections that it holds.
IDLE_MIB: Final = 150.0
HOLDING_MIB: Final = 400.0
_HELD_AT_MOST: Final = 5_000
_OPENED_A_SECOND: Final = 500
_LEAST_OPENING_SECONDS: Final = 5.0
# How many times as long as planned the connections may take to open.
_LATE: Final = 3
_GRACE_SECONDS: Final = 30.0
_DRAWN_IDS: Final = 1 << 16


@dataclass(frozen=True)
class Options:
    """How many connections on how many workers, and for how many seconds all are open."""

    connections: int = CONNECTIONS
    seconds: int = 30
    workers: int = 2
    scale: str = "100k"


class Check(msgspec.Struct, frozen=True):
    """One thing that was asked for, in words, and whether it was so."""

    name: str
    wanted: str
    measured: str
    met: bool


@dataclass
class Memory:
    """The largest worker of a server, in MiB: before anybody connected, and at most afterwards."""

    server: int | None
    idle: float = field(init=False)
    holding: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.idle = workers_rss(self.server)

    def look(self) -> None:
        """Note what it is now."""
        self.holding = max(self.holding, workers_rss(self.server))


def measure(options: Options, say: Callable[[str], None]) -> Report:
    """Open the connections on a private stack, hold them, and judge; `say` gets a line a step.

    Raises:
        SetupError: something is missing that the caller can mend.
        StackError, ChildError: a server can't be started.
        Halted: somebody wants it to stop.
    """
    processes = _processes(options.connections)
    name = variable("connections_per_worker")
    room = max(options.connections, int(FIELDS["connections_per_worker"].default))
    with ExitStack() as exits:
        exits.enter_context(ctrl_c_noted())
        say(f"Starting a private stack with {options.scale} projects …")
        stack = contenders.private_stack(options.scale, options.workers, {name: str(room)})
        place = exits.enter_context(stack)
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="mercenary-load-")))
        parts = _parts(options, place, folder, processes)
        opening = parts[0].opening
        say(
            f"Opening {options.connections:,} connections in {opening:.0f} s from {processes} "
            f"processes, then measuring for {options.seconds} s …"
        )
        memory = Memory(place.product.server_pid)
        measurement, seen = _held(options, place.product, folder, parts, memory)
    rows = judge([measurement], {ROW: Floor(_least_rate(options.connections), P95_MS)})
    checks = _checks(options, rows[0], seen, memory)
    met = all(check.met for check in checks)
    guide = Verdict(_least_rate(options.connections), P95_MS, met)
    return Report(
        machine=facts.machine(),
        commit=facts.commit(),
        command=facts.command(),
        rows=[msgspec.structs.replace(rows[0], guide=guide)],
        detail={
            "scale": options.scale,
            "workers": options.workers,
            "connections": options.connections,
            "seconds": options.seconds,
            "pauses": PAUSES,
            "write_share": WRITE_SHARE,
            "processes": processes,
            "worker_idle_mib": round(memory.idle, 1),
            "worker_holding_mib": round(memory.holding, 1),
            "seen": msgspec.to_builtins(seen),
            "checks": msgspec.to_builtins(checks),
            "measurements": msgspec.to_builtins([measurement]),
        },
    )


def lines(report: Report) -> list[str]:
    """A report for people: a line for each thing that was asked for."""
    checks = msgspec.convert(report.detail["checks"], list[Check])
    return [
        f"{'met   ' if check.met else 'MISSED'}  {check.name}: {check.measured}"
        f" (wanted: {check.wanted})"
        for check in checks
    ]


def _least_rate(connections: int) -> float:
    """A tenth as many requests a second as there are callers: 1,000 for 10,000."""
    return connections / 10


def _processes(connections: int) -> int:
    """How many processes hold the connections: one a core, or what their files allow.

    Raises:
        SetupError: a process may open next to nothing here.
    """
    share = math.ceil(connections / cores())
    files = allow_open_files(share + patient_load.OTHER_FILES) - patient_load.OTHER_FILES
    if files < 1:
        raise SetupError("a process may open too few files here (ulimit -Hn); raise that limit")
    return math.ceil(connections / min(share, files))


def _parts(options: Options, place: Place, folder: Path, processes: int) -> list[Part]:
    """What each process is to do."""
    target = place.product.target
    market = explore(target, place.product.callers.everybody)
    asks = Asks(market, zipf.draw(market.projects, _DRAWN_IDS))
    traffic: Traffic = asks.rows(place.product)["get-project"]
    whole = lay_out(
        traffic,
        target,
        folder,
        connections=options.connections,
        seconds=options.seconds,
        seed=1,
    )
    opening = max(_LEAST_OPENING_SECONDS, options.connections / _OPENED_A_SECOND)
    shares = [range(number, options.connections, processes) for number in range(processes)]
    first, parts = 0, []
    for number, share in enumerate(shares):
        parts.append(
            Part(
                plan=_share(whole, len(share), number),
                processes=processes,
                # Each from an address of its own, since one has 28,000 ports.
                source=str(IPv4Address("127.0.0.2") + number),
                first_caller=first,
                opening=opening,
                opening_limit=_LATE * opening,
            )
        )
        first += len(share)
    return parts


def _share(plan: Plan, connections: int, number: int) -> Plan:
    return msgspec.structs.replace(
        plan, connections=connections, seed=1000 + number, run=f"{plan.run}-{number}"
    )


def _held(
    options: Options, product: Contender, folder: Path, parts: Sequence[Part], memory: Memory
) -> tuple[Measurement, Seen]:
    """Run the processes, and put together what they saw."""
    paths = []
    for number, part in enumerate(parts):
        paths.append(folder / f"part-{number}.json")
        paths[-1].write_bytes(msgspec.json.encode(part))
    limit = parts[0].opening_limit + options.seconds + _GRACE_SECONDS
    before = usage(product.server_pid), usage(product.database_pid)
    load.run_all([patient_load.command(path) for path in paths], limit, memory.look)
    after = usage(product.server_pid), usage(product.database_pid)
    seen, latencies = _collected(paths)
    p50, p95, p99 = (percentile(latencies, share) / 1e6 for share in (0.50, 0.95, 0.99))
    measurement = Measurement(
        row=ROW,
        contender=PRODUCT,
        run=0,
        rate=round(len(latencies) / options.seconds, 1),
        requests=len(latencies),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        errors=seen.errors,
        server_cpu_s=round(after[0].cpu_seconds - before[0].cpu_seconds, 3),
        database_cpu_s=round(after[1].cpu_seconds - before[1].cpu_seconds, 3),
        rss_mib=round(after[0].rss_mib, 1),
        generator_cpu_s=round(seen.cpu_seconds, 3),
        busy=round(seen.cpu_seconds / options.seconds / len(parts), 3),
    )
    return measurement, seen


def _collected(paths: Sequence[Path]) -> tuple[Seen, list[int]]:
    latencies: list[int] = []
    parts: list[Seen] = []
    for path in paths:
        try:
            parts.append(msgspec.json.decode(path.with_suffix(".seen").read_bytes(), type=Seen))
        except FileNotFoundError:
            raise GeneratorError(f"{path.stem} left no result") from None
        taken = array("q")
        taken.frombytes(path.with_suffix(".latencies").read_bytes())
        latencies.extend(taken)
    latencies.sort()
    errors: Counter[str] = Counter()
    for part in parts:
        errors.update(part.errors)
    seen = Seen(
        open_first=sum(part.open_first for part in parts),
        open_last=sum(part.open_last for part in parts),
        errors=dict(errors),
        cpu_seconds=sum(part.cpu_seconds for part in parts),
    )
    return seen, latencies


def _checks(options: Options, row: Row, seen: Seen, memory: Memory) -> list[Check]:
    wanted, least = options.connections, _least_rate(options.connections)
    still = min(seen.open_first, seen.open_last)
    share = math.ceil(wanted / options.workers)
    holding = IDLE_MIB + (HOLDING_MIB - IDLE_MIB) * max(1.0, share / _HELD_AT_MOST)
    failed = ", ".join(f"{found:,} {kind}" for kind, found in seen.errors.items())
    return [
        Check("connections open at once", f"{wanted:,}", f"{still:,}", still == wanted),
        Check("requests a second", f"≥ {least:,.0f}", f"{row.rate:,.0f}", row.rate >= least),
        Check("p95", f"< {P95_MS:g} ms", f"{row.p95_ms:.1f} ms", row.p95_ms < P95_MS),
        Check("errors", "none", failed or "none", not failed),
        Check(
            "memory of the largest worker, idle",
            f"≤ {IDLE_MIB:g} MiB",
            f"{memory.idle:.0f} MiB",
            memory.idle <= IDLE_MIB,
        ),
        Check(
            f"the same with {share:,} connections",
            f"≤ {holding:g} MiB",
            f"{memory.holding:.0f} MiB",
            memory.holding <= holding,
        ),
    ]
