"""pgbench, PostgreSQL's own load generator: the yardstick of a C client that asks one by one.

It keeps each connection busy with one prepared statement after another. Its program comes with the
embedded server.
"""

import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from mercenary.bench.generator import GeneratorError, Outcome, percentile
from mercenary.local.postgres import DATABASE, EmbeddedPostgres

CONNECTIONS: Final = 16
THREADS: Final = 2
# Each transaction that is logged costs pgbench a line; so many of them tell the percentiles.
_SAMPLED: Final = 0.05
_GRACE_SECONDS: Final = 60
_LATENCY: Final = 2
_COMMITTED: Final = "number of transactions actually processed: "
_FAILED: Final = "number of failed transactions: "


def run(postgres: EmbeddedPostgres, script: str, seconds: int) -> tuple[Outcome, float]:
    """Run a script for so many seconds; gives what it reached, and the processor seconds it took.

    Raises:
        GeneratorError: a statement failed, or pgbench got stuck.
    """
    with tempfile.TemporaryDirectory(prefix="mercenary-pgbench-") as name:
        folder = Path(name)
        (folder / "script.sql").write_text(script)
        command = [
            *(str(postgres.programs / "pgbench"), "-n", "-M", "prepared"),
            *("-c", str(CONNECTIONS), "-j", str(THREADS), "-T", str(seconds)),
            *("-f", "script.sql", "-l", f"--sampling-rate={_SAMPLED}"),
            *("-h", str(postgres.sockets), "-U", DATABASE, DATABASE),
        ]
        before, began = _processor_seconds(), time.perf_counter()
        try:
            ended = subprocess.run(  # noqa: S603 - PostgreSQL's program, with words of ours
                command,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=seconds + _GRACE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise GeneratorError(f"pgbench took over {error.timeout:g} s") from error
        taken = min(time.perf_counter() - began, float(seconds))
        if ended.returncode != 0:
            raise GeneratorError(ended.stderr.strip())
        logs = [file.read_text() for file in folder.glob("pgbench_log.*")]
    used = _processor_seconds() - before
    milliseconds = sorted(
        int(line.split()[_LATENCY]) / 1000 for log in logs for line in log.splitlines()
    )
    failed = _number(ended.stdout, _FAILED)
    p50, p95, p99 = (round(percentile(milliseconds, share), 3) for share in (0.5, 0.95, 0.99))
    errors = {"failed": failed} if failed else {}
    outcome = Outcome(_number(ended.stdout, _COMMITTED), taken, p50, p95, p99, errors)
    return outcome, used


def _number(said: str, label: str) -> int:
    """The number behind a label; 0 where it isn't said."""
    for line in said.splitlines():
        if line.startswith(label):
            return int(line.removeprefix(label).split()[0])
    return 0


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
