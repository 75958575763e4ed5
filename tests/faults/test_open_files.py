"""The limit of open files, met by a real `mercenary serve` as it starts."""

import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from mercenary.bench import bare_asgi
from mercenary.local.ports import hold_port
from mercenary.local.probe import http_answers
from mercenary.local.stack import without_settings
from mercenary.local.supervisor import mercenary_command
from tests.faults.conftest import PATIENCE, eventually, only_line

HOST = "127.0.0.1"
# What a worker needs beside its connections: the pool's 30, and 256.
OTHERS = 286
Serve = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server of fixed bytes whose processes may open so many files: (soft, hard)."""
    for name in (bare_asgi.LIST, bare_asgi.PROJECTS, bare_asgi.ONE, bare_asgi.WRITTEN):
        (tmp_path / name).write_bytes(b"{}")
    started: list[subprocess.Popen[str]] = []
    with hold_port(HOST, 0) as port:

        def start(limits: tuple[int, int], **environment: str) -> tuple[subprocess.Popen[str], int]:
            target = ("--target", "mercenary.bench.bare_asgi:create_app")
            process = subprocess.Popen(
                mercenary_command("serve", "--port", str(port), "--workers", "1", *target),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=without_settings() | {bare_asgi.ANSWERS: str(tmp_path)} | environment,
                cwd=tmp_path,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits),
            )
            started.append(process)
            return process, port

        yield start
        for process in started:
            process.kill()
            process.communicate()


def worker_limit(process: subprocess.Popen[str]) -> int:
    """The limit of open files in a worker of a server that runs."""
    workers = psutil.Process(process.pid).children()
    return min(int(worker.rlimit(psutil.RLIMIT_NOFILE)[0]) for worker in workers)


def test_the_soft_limit_is_raised_for_the_workers(serve: Serve) -> None:
    process, port = serve((256, 4096), MERCENARY_CONNECTIONS_PER_WORKER="1000")
    eventually(lambda: http_answers(HOST, port, "/x"), "it answers")
    assert worker_limit(process) >= 1000 + OTHERS


def test_the_default_is_lowered_to_what_is_possible_and_said_so(serve: Serve) -> None:
    process, port = serve((256, 1000))
    eventually(lambda: http_answers(HOST, port, "/x"), "it answers")
    process.terminate()
    _, said = process.communicate(timeout=PATIENCE)
    assert f"so each worker holds {1000 - OTHERS}; raise the limit of 1000 (ulimit -Hn)" in said


@pytest.mark.parametrize(
    ("limits", "environment", "said"),
    [
        (
            (256, 1000),
            {"MERCENARY_CONNECTIONS_PER_WORKER": "1000"},
            f"or lower MERCENARY_CONNECTIONS_PER_WORKER to {1000 - OTHERS}",
        ),
        ((256, 256), {}, "raise the limit of 256"),
    ],
)
def test_a_limit_that_is_too_low_is_refused_by_one_line(
    serve: Serve, limits: tuple[int, int], environment: dict[str, str], said: str
) -> None:
    process, _ = serve(limits, **environment)
    _, line = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert said in only_line(line)
