"""The clocks by which kept answers are forgotten."""

import multiprocessing
import time
from pathlib import Path

import pytest

from mercenary.cache import clocks
from mercenary.cache.clocks import EVERYTHING, Clocks, slot_of


@pytest.fixture
def table(tmp_path: Path) -> Clocks:
    return Clocks(tmp_path / "clocks")


def shown(table: Clocks, tag: str) -> int:
    return table.read(slot_of(tag))


def test_a_change_moves_the_clocks_of_its_tags_and_no_other(table: Clocks) -> None:
    before = shown(table, "project:1"), shown(table, "projects"), shown(table, "project:2")
    stamp = table.fresh()
    table.begin(["project:1", "projects"], stamp)
    table.settle(["project:1", "projects"], stamp)
    assert shown(table, "project:1") != before[0]
    assert shown(table, "projects") != before[1]
    assert shown(table, "project:2") == before[2]


def test_a_resource_that_is_being_written_says_so_and_a_list_goes_on(table: Clocks) -> None:
    table.begin(["project:1", "projects"], table.fresh())
    assert table.is_being_written(shown(table, "project:1"))
    assert not table.is_being_written(shown(table, "projects"))


def test_a_mark_that_nobody_settles_expires(table: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    table.begin(["project:1"], table.fresh())
    later = time.monotonic() + clocks.MARK_SECONDS + 1
    monkeypatch.setattr(clocks, "monotonic", lambda: later)
    assert not table.is_being_written(shown(table, "project:1"))


def test_a_change_that_is_settled_beside_another_leaves_the_mark_of_that_one(
    table: Clocks,
) -> None:
    first, second = table.fresh(), table.fresh()
    table.begin(["project:1"], first)
    table.begin(["project:1"], second)
    table.settle(["project:1"], first)
    assert table.is_being_written(shown(table, "project:1"))
    table.settle(["project:1"], second)
    assert not table.is_being_written(shown(table, "project:1"))


def test_an_announcement_of_a_change_made_here_moves_nothing(table: Clocks) -> None:
    stamp = table.fresh()
    table.settle(["project:1"], stamp)
    before = shown(table, "project:1")
    assert table.apply(["project:1"], stamp) == 0
    assert shown(table, "project:1") == before


def test_an_announcement_of_a_change_made_elsewhere_moves_the_clock_each_time(
    table: Clocks,
) -> None:
    stamp = Clocks().fresh()
    seen = {shown(table, "project:1")}
    for _ in range(3):
        assert table.apply(["project:1"], stamp) == 1
        seen.add(shown(table, "project:1"))
    assert len(seen) == 4


def test_an_announcement_ends_the_mark_of_whoever_was_killed_after_the_commit(
    table: Clocks,
) -> None:
    stamp = table.fresh()
    table.begin(["project:1"], stamp)
    table.apply(["project:1"], stamp)
    assert not table.is_being_written(shown(table, "project:1"))


def test_an_announcement_leaves_the_mark_of_another_change_under_way(table: Clocks) -> None:
    table.begin(["project:1"], table.fresh())
    table.apply(["project:1"], Clocks().fresh())
    assert table.is_being_written(shown(table, "project:1"))


def test_valkey_is_told_of_a_change_once_all_up_to_then_has_been_heard_of(table: Clocks) -> None:
    slot = slot_of("project:1")
    table.settle(["project:1"], table.fresh())
    assert not table.is_told(slot)
    table.hear(time.monotonic() + 1)
    assert table.is_told(slot)
    table.begin(["project:1"], table.fresh())
    assert not table.is_told(slot)


def test_what_was_heard_never_goes_back(table: Clocks) -> None:
    table.hear(20.0)
    table.hear(10.0)
    assert table.heard == 20.0


def test_everything_has_a_clock_that_no_tag_shares() -> None:
    assert slot_of(EVERYTHING) == 0
    assert 0 not in {slot_of(f"project:{number}") for number in range(300_000)}


def test_stamps_are_unique_and_fit_a_positive_bigint(table: Clocks) -> None:
    stamps = [table.fresh() for _ in range(30_000)]
    assert len(set(stamps)) == len(stamps)
    assert all(0 < stamp < 1 << clocks.STAMP_BITS for stamp in stamps)


def test_whoever_is_held_up_before_storing_a_date_doesnt_make_an_earlier_one_stay(
    table: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker's change was settled between the look at the time and the store."""
    start = time.monotonic()
    looks = iter([start, start + 1.0, start + 1.0, start + 1.0])
    with monkeypatch.context() as patch:
        patch.setattr(clocks, "monotonic", lambda: next(looks, start + 1.0))
        table.settle(["project:1"], 1)
    table.hear(start + 0.5)
    assert not table.is_told(slot_of("project:1"))
    table.hear(start + 2.0)
    assert table.is_told(slot_of("project:1"))


def test_a_table_is_named_by_where_the_database_is_and_not_by_who_signs_in() -> None:
    one = clocks.path_for("postgresql+asyncpg://ada:secret@db:5432/market?ssl=require")
    assert one == clocks.path_for("postgres://relay@db:5432/market")
    socket = "postgresql://ada@/market?host=%2Frun%2F{}"
    names = {one, clocks.path_for(socket.format("a")), clocks.path_for(socket.format("b"))}
    assert len({*names, clocks.path_for("postgres://db:5432/other")}) == 4


def _settle_many(path: Path, number: int) -> None:
    table = Clocks(path)
    for _ in range(2_000):
        stamp = table.fresh()
        table.begin(["project:1"], stamp)
        table.settle(["project:1"], stamp)
        table.apply(["project:1"], number)


def test_processes_share_a_table_and_never_bring_a_value_back(tmp_path: Path) -> None:
    path = tmp_path / "clocks"
    table = Clocks(path)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_settle_many, args=(path, number)) for number in (1, 2)]
    for writer in writers:
        writer.start()
    seen: set[int] = set()
    last = None
    while any(writer.is_alive() for writer in writers):
        value = shown(table, "project:1")
        if value != last:
            assert value not in seen
            seen.add(value)
            last = value
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert len(seen) > 2


def test_a_file_from_before_the_machine_restarted_has_heard_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    Clocks(tmp_path / "clocks").hear(now)
    monkeypatch.setattr(clocks, "monotonic", lambda: now - 3600)
    anew = Clocks(tmp_path / "clocks")
    assert anew.heard == 0
    anew.hear(now - 3601)
    assert anew.heard == pytest.approx(now - 3601)
