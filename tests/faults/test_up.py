"""`mercenary up` with real processes: what starts, what is refused, what survives, what is left."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mercenary.cache.clocks import path_for
from mercenary.local.account import serving_account
from mercenary.local.folder import DataFolder
from mercenary.local.processes import alive
from tests.conftest import server_folder
from tests.faults.conftest import (
    Starter,
    Up,
    called,
    environment_of,
    eventually,
    gone,
    only_line,
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One for all who need one that runs and let it run on; it ends well, whatever it has met."""
    with server_folder() as folder:
        output = tmp_path_factory.mktemp("up") / "up.log"
        running = Up(folder / "data", output, "--port", "0", "--workers", "1")
        try:
            yield running.until_ready()
            family = running.family()
            assert running.stop() == 0
            eventually(lambda: gone(family), "no process left")
        finally:
            if running.process.poll() is None:
                running.stop()


def test_it_runs_says_so_and_leaves_nothing_behind(up: Starter, data: Path) -> None:
    running = up().until_ready()
    family = running.family()
    assert {"postgres", "valkey", "api", "relay", "cleaner"} == {
        one.name for one in running.state.services
    }
    assert running.state.url in running.said
    assert "curl" in running.said

    status = called("status", "--data", str(data), "--json")
    answer = json.loads(status.stdout)
    assert status.returncode == 0
    assert answer["well"]
    assert all(row["pid"] and row["answers"] for row in answer["services"])
    assert "postgres" in called("status", "--data", str(data)).stdout
    shared = path_for(running.state.database_uri)
    assert shared.exists()

    assert running.stop(signal.SIGINT) == 0
    eventually(lambda: gone(family), "no process left")
    assert not list((data / "run").iterdir())
    assert not shared.exists()
    status = called("status", "--data", str(data))
    assert status.returncode == 1
    assert "Nothing runs" in status.stdout


def test_stopping_it_while_it_starts_leaves_nothing_behind(up: Starter, data: Path) -> None:
    starting = up("--workers", "1")
    eventually(lambda: starting.mark("valkey"), "the first child runs")
    family = starting.family()
    assert starting.stop(signal.SIGTERM) == 0
    eventually(lambda: gone(family), "no process left")
    up("--workers", "1").until_ready().stop()


def test_what_is_in_use_is_refused_by_one_line(running: Up) -> None:
    data = running.data
    again = called("up", "--data", str(data), "--port", "0")
    assert again.returncode == 2
    assert "in use by another" in only_line(again.stderr)
    assert str(running.process.pid) in again.stderr

    port = running.state.url.rpartition(":")[2]
    taken = called("up", "--data", str(data.parent / "other"), "--port", port)
    assert taken.returncode == 2
    assert f"port {port} is taken" in only_line(taken.stderr)
    assert running.process.poll() is None


@pytest.mark.parametrize("service", ["api", "relay", "cleaner", "valkey", "postgres"])
def test_a_child_that_dies_is_restarted_and_said_so(running: Up, service: str) -> None:
    first = running.mark(service)
    assert first is not None
    before = len(running.said)

    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: f"{service} runs again" in running.said[before:], f"{service} is back")

    second = running.mark(service)
    assert second is not None
    assert second.pid != first.pid
    told = f"{service} was ended by SIGKILL; starting it again in 0.5 s"
    assert told in running.said[before:]
    eventually(
        lambda: called("status", "--data", str(running.data)).returncode == 0, "all answers again"
    )


def test_a_hanging_child_is_killed_after_the_deadline(up: Starter) -> None:
    running = up("--workers", "1", MERCENARY_DRAIN_SECONDS="1").until_ready()
    family = running.family()
    api = running.mark("api")
    assert api is not None
    os.kill(api.pid, signal.SIGSTOP)

    assert running.stop(signal.SIGTERM) == 0
    assert "api didn't end in time and was killed" in running.said
    eventually(lambda: gone(family), "no process left")


def test_killing_the_supervisor_ends_the_children_and_the_data_works_again(up: Starter) -> None:
    running = up().until_ready()
    family = running.family()
    running.process.kill()
    running.process.wait()

    again = up().until_ready()
    eventually(lambda: gone(family), "the first family is gone")
    assert called("status", "--data", str(again.data)).returncode == 0
    assert again.stop() == 0


def test_killing_everything_at_once_is_recovered_from(up: Starter) -> None:
    running = up("--workers", "1").until_ready()
    family = running.family()
    running.process.kill()
    for one in family:
        if alive(one):
            os.kill(one.pid, signal.SIGKILL)
    eventually(lambda: gone(family), "everything is dead")
    assert (running.data / "postgres" / "postmaster.pid").exists()

    again = up("--workers", "1").until_ready()
    assert again.stop() == 0


def test_fresh_empties_our_folder_and_no_other(up: Starter, data: Path) -> None:
    up("--workers", "1").until_ready().stop()
    note = data / "postgres" / "note"
    note.touch()
    up("--workers", "1", "--fresh").until_ready().stop()
    assert not note.exists()

    foreign = data.parent / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    refused = called("up", "--data", str(foreign), "--fresh", "--port", "0")
    assert refused.returncode == 2
    assert "holds files of something else" in only_line(refused.stderr)
    assert (foreign / "thesis.txt").read_text() == "mine"


def test_your_own_servers_are_used_in_place_of_ours(running: Up, up: Starter) -> None:
    theirs = environment_of(running.state)
    mine = up("--workers", "1", **theirs).until_ready()
    assert "Using your postgres" in mine.said
    assert "Using your valkey" in mine.said
    assert [one.name for one in mine.state.services if not one.mine] == ["api", "relay", "cleaner"]
    assert mine.stop() == 0
    assert called("status", "--data", str(running.data)).returncode == 0


def test_a_folder_that_only_its_owner_can_enter_works(up: Starter, data: Path) -> None:
    private = data.parent / "private"
    private.mkdir(mode=0o700)
    running = up("--workers", "1", on=private / "data").until_ready()
    assert running.stop() == 0
    DataFolder(private / "data", serving_account()).remove()


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"MERCENARY_PORT": "99999"}, "MERCENARY_PORT is 99999"),
        ({"MERCENARY_PROT": "80"}, "did you mean MERCENARY_PORT?"),
        ({"CACHE_CONFIG": "{"}, "CACHE_CONFIG is not valid JSON"),
        ({"MERCENARY_ENVIRONMENT": "production"}, "MERCENARY_SECRET_KEY is missing"),
        ({"SQLALCHEMY_DATABASE_URI": "postgresql://u:hunter2@127.0.0.1:1/x"}, "nothing answers at"),
        ({"MERCENARY_HOST": "203.0.113.7"}, "can't listen on 203.0.113.7"),
    ],
)
def test_a_broken_setting_is_one_line(environment: dict[str, str], what: str, data: Path) -> None:
    refused = called("up", "--data", str(data), "--port", "0", **environment)
    assert refused.returncode == 2
    assert what in only_line(refused.stderr)
    assert "hunter2" not in refused.stderr


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = called("up", "--data", str(tmp_path / "file"), "--port", "0")
    assert refused.returncode == 2
    assert "can't be used" in only_line(refused.stderr)


def test_a_listener_of_somebody_else_takes_the_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        refused = called("up", "--data", str(tmp_path / "data"), "--port", port)
    assert refused.returncode == 2
    assert f"port {port} is taken" in only_line(refused.stderr)
