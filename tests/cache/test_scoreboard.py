"""What processes count is readable by all of the host, and outlives whoever counted it."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from mercenary.app import Application
from mercenary.cache import caches, counters, scoreboard
from mercenary.cache.scoreboard import Scoreboard
from mercenary.cli import main

NAMES = ("hits_total", "bytes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
def reader(path: Path) -> Scoreboard:
    return Scoreboard(path, NAMES)


class Worker:
    """A process with a row of its own, which ends as it is told to."""

    def __init__(self, path: Path, hits: int, *, names: tuple[str, ...] = NAMES) -> None:
        program = (
            "import sys; from pathlib import Path\n"
            "from mercenary.cache.scoreboard import Scoreboard\n"
            f"board = Scoreboard(Path({str(path)!r}), {names!r})\n"
            f"board.claim(); board.write(dict.fromkeys({names!r}, {hits}))\n"
            "print('written', flush=True); sys.stdin.read()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"written\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_the_counters_of_living_processes_are_read_and_added_up(
    path: Path, reader: Scoreboard
) -> None:
    workers = [Worker(path, 3), Worker(path, 4)]
    board = reader.read()
    assert [each.values["hits_total"] for each in board.processes] == [3, 4]
    assert [each.pid for each in board.processes] == [each.process.pid for each in workers]
    assert board.totals == {"hits_total": 7, "bytes": 7}
    for each in workers:
        each.kill()


def test_what_a_killed_process_counted_stays_in_the_totals_and_what_it_held_doesnt(
    path: Path, reader: Scoreboard
) -> None:
    Worker(path, 3).kill()
    board = reader.read()
    assert board.processes == []
    assert board.totals == {"hits_total": 3}


def test_whoever_gets_a_dead_ones_row_doesnt_lose_what_that_had_counted(
    path: Path, reader: Scoreboard
) -> None:
    Worker(path, 3).kill()
    for hits in (4, 5):
        Worker(path, hits).kill()
    heir = Worker(path, 6)
    board = reader.read()
    assert [each.values["hits_total"] for each in board.processes] == [6]
    assert board.gone == {"hits_total": 12}
    assert board.totals["hits_total"] == 18
    heir.kill()


def test_a_server_that_was_long_down_begins_anew(
    path: Path, reader: Scoreboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    Worker(path, 3).kill()
    later = time.time() + scoreboard.ANEW_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    mine = Scoreboard(path, NAMES)
    mine.claim()
    board = reader.read()
    assert (board.since, board.gone) == (later, {"hits_total": 0})
    mine.close()


def test_counters_of_another_version_arent_read_for_ours(path: Path, reader: Scoreboard) -> None:
    ours, other = Worker(path, 3), Worker(path, 100, names=("misses_total",))
    board = reader.read()
    assert board.totals["hits_total"] == 3
    assert board.others == 1
    ours.kill()
    other.kill()


def test_a_table_that_is_full_gives_no_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoreboard, "ROWS", 1)
    first, second = Scoreboard(path, NAMES), Scoreboard(path, NAMES)
    assert first.claim()
    assert not second.claim()
    second.write({"hits_total": 9, "bytes": 9})
    assert second.read().totals["hits_total"] == 0
    first.close()
    second.close()


def test_a_file_that_isnt_there_isnt_made_by_a_reader(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Scoreboard(path, NAMES, make=False)
    assert not path.exists()


async def test_an_application_tells_all_that_it_counts(
    application: Application, client: httpx.AsyncClient
) -> None:
    """A read of the scoreboard sees its requests within a second or two."""
    path = caches.path_of(application.settings, application.database_uri)
    reader = Scoreboard(path, counters.NAMES, make=False)
    before = reader.read().totals["answers_absent_total"]
    await client.get("/api/v1/skills?limit=77")
    async with asyncio.timeout(10):
        while reader.read().totals["answers_absent_total"] == before:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    reader.close()


async def test_pool_tells_of_the_workers_while_the_server_takes_nobody(
    application: Application,
) -> None:
    path = caches.path_of(application.settings, application.database_uri)
    environment = {
        "SQLALCHEMY_DATABASE_URI": "postgresql://nobody@127.0.0.1:1/nothing",
        "MERCENARY_SHARED_MEMORY": str(path),
    }
    arguments = ("db", "pool", "--json")
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=environment)
    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert found["server"] is None
    assert "can't be asked" in found["fault"]
    (worker,) = found["workers"]
    assert worker["pid"] == os.getpid()
    options = application.settings.sqlalchemy_engine_options
    assert worker["counters"]["pool_most"] == options.pool_size + options.max_overflow


def test_each_name_is_there_once_and_explained() -> None:
    """The names are relied on elsewhere: they change only with what they mean."""
    assert len(set(counters.NAMES)) == len(counters.NAMES)
    documented = counters.__doc__ or ""
    bare = {
        name.removeprefix("answers_").removesuffix("_total")
        for name in counters.NAMES
        if name.startswith("answers_")
    }
    assert {name for name in bare if name not in documented} == set()
