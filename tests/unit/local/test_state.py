"""What a stack says of itself, and what others make of it."""

import os
import stat
from pathlib import Path

import msgspec
import pytest

from mercenary.local.ports import hold_port
from mercenary.local.probe import http_answers, postgres_answers, valkey_answers
from mercenary.local.processes import Mark, mark
from mercenary.local.state import Service, State, effective, read_state
from mercenary.settings import SetupError, load

CACHE = '{"default": {"CACHE_REDIS_URL": "unix:///run/valkey.sock?db=0"}}'


def written(folder: Path, supervisor: Mark) -> State:
    state = State(
        supervisor=supervisor,
        started=1.0,
        url="http://127.0.0.1:8000",
        database_uri="postgresql://mercenary@/mercenary?host=/run",
        cache_config=CACHE,
        services=[Service(name="api", address="http://127.0.0.1:1", mark=Mark(1, 1.0))],
    )
    state.write(folder / "state.json")
    return state


def test_it_is_read_as_it_was_written_by_its_owner_alone(tmp_path: Path) -> None:
    state = written(tmp_path, Mark(1, 1.0))
    assert read_state(tmp_path) == state
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600


def test_nothing_or_nonsense_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    (tmp_path / "state.json").write_text("{")
    assert read_state(tmp_path) is None


def test_a_running_stack_lends_its_servers(tmp_path: Path) -> None:
    me = mark(os.getpid())
    assert me is not None
    written(tmp_path, me)
    settings = effective(load({"MERCENARY_DATA": str(tmp_path)}))
    assert settings.sqlalchemy_database_uri == "postgresql://mercenary@/mercenary?host=/run"
    assert settings.cache_config.default.cache_redis_url == "unix:///run/valkey.sock?db=0"


def test_named_servers_win_over_a_running_stack(tmp_path: Path) -> None:
    me = mark(os.getpid())
    assert me is not None
    written(tmp_path, me)
    environ = {"SQLALCHEMY_DATABASE_URI": "postgresql://mine/x", "MERCENARY_DATA": str(tmp_path)}
    assert effective(load(environ)).sqlalchemy_database_uri == "postgresql://mine/x"


def test_a_dead_stack_lends_nothing(tmp_path: Path) -> None:
    written(tmp_path, Mark(1, 1.0))
    with pytest.raises(SetupError, match="start `mercenary up`"):
        effective(load({"MERCENARY_DATA": str(tmp_path)}))


def test_orphans_of_another_time_are_not_touched(tmp_path: Path) -> None:
    # Process 1 runs, but it isn't the one that the state means.
    assert written(tmp_path, Mark(1, 1.0)).stop_orphans() == []


def test_what_is_not_there_does_not_answer(tmp_path: Path) -> None:
    assert not postgres_answers(f"postgresql://me@/x?host={tmp_path}")
    assert not valkey_answers(f"unix://{tmp_path}/valkey.sock?db=0")
    with hold_port("127.0.0.1", 0) as port:
        assert not postgres_answers(f"postgresql://me@127.0.0.1:{port}/x")
        assert not valkey_answers(f"redis://127.0.0.1:{port}/0")
        assert not http_answers("0.0.0.0", port)


def test_a_port_is_held_against_others() -> None:
    with (
        hold_port("127.0.0.1", 0) as port,
        pytest.raises(SetupError, match=f"port {port} is taken"),
        hold_port("127.0.0.1", port),
    ):
        pass


def test_state_holds_no_field_that_json_loses(tmp_path: Path) -> None:
    state = written(tmp_path, Mark(2, 2.5))
    assert msgspec.json.decode(msgspec.json.encode(state), type=State) == state
