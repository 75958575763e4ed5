"""Timed runs of one contender under load: what it reached, and what that took.

A `Course` says how all the runs of a bench are made; contenders take turns in it.
"""

from dataclasses import dataclass
from typing import Final

from mercenary.bench import load
from mercenary.bench.contenders import Contender
from mercenary.bench.generator import Generator
from mercenary.bench.processes import usage
from mercenary.bench.report import Measurement
from mercenary.bench.traffic import Traffic

_WARM_UP_SECONDS: Final = 1
# A worker verifies each token once, which takes longer than all the rest of a request and happens
# every 15 minutes outside of a bench. After three requests a caller, 95% have been met.
_REQUESTS_TO_MEET: Final = 3
# Slow contenders don't get to know everybody: so many times a run's seconds is the limit.
_MEETING_RUNS: Final = 4


@dataclass(frozen=True)
class Course:
    """How runs are made: by which generator, for how many seconds, over how many connections."""

    generator: Generator
    seconds: int
    connections: int

    def meet(self, contender: Contender, traffic: Traffic, workers: int) -> str:
        """Load a contender until each of its workers has met most of the callers; says so."""
        wanted = _REQUESTS_TO_MEET * workers * len(contender.callers.everybody)
        seconds = requests = 0
        while requests < wanted and seconds < _MEETING_RUNS * self.seconds:
            loaded = self._load(contender, traffic, self.seconds, seed=1000 + seconds)
            requests += loaded.outcome.requests
            seconds += self.seconds
        return f"Warmed {contender.name} up by {requests:,} requests in {seconds} s"

    def measure(self, contender: Contender, traffic: Traffic, row: str, run: int) -> Measurement:
        """One run, after a second that doesn't count."""
        self._load(contender, traffic, _WARM_UP_SECONDS, seed=2 * run)
        server, database = contender.server_pid, contender.database_pid
        before = usage(server), usage(database)
        loaded = self._load(contender, traffic, self.seconds, seed=2 * run + 1)
        after = usage(server), usage(database)
        outcome = loaded.outcome
        return Measurement(
            row=row,
            contender=contender.name,
            run=run,
            rate=round(loaded.rate, 1),
            requests=outcome.requests,
            p50_ms=outcome.p50_ms,
            p95_ms=outcome.p95_ms,
            p99_ms=outcome.p99_ms,
            errors=outcome.errors,
            server_cpu_s=_used(server, before[0].cpu_seconds, after[0].cpu_seconds),
            database_cpu_s=_used(database, before[1].cpu_seconds, after[1].cpu_seconds),
            rss_mib=round(after[0].rss_mib, 1) if server is not None else None,
            generator_cpu_s=round(loaded.cpu_seconds, 3),
            busy=round(loaded.share, 3),
        )

    def _load(
        self, contender: Contender, traffic: Traffic, seconds: int, *, seed: int
    ) -> load.Load:
        return load.run(
            self.generator,
            traffic,
            contender.target,
            seconds=seconds,
            connections=self.connections,
            seed=seed,
        )


def line_of(measurement: Measurement, runs: int) -> str:
    """What one run reached, for people who wait for the rest."""
    busy = f"generator {measurement.busy:.0%} busy"
    if measurement.busy > load.BUSY_SHARE:
        busy += ", SO IT MAY BE WHAT IS MEASURED"
    return (
        f"{measurement.run + 1}/{runs} {measurement.row} {measurement.contender}: "
        f"{measurement.rate:,.0f}/s, p95 {measurement.p95_ms:.1f} ms, "
        f"{measurement.error_count} errors ({busy})"
    )


def _used(pid: int | None, before: float, after: float) -> float | None:
    return round(after - before, 3) if pid is not None else None
