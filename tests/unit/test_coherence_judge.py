"""The judge of coherence accepts what the contract allows, and nothing else."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from tests.coherence.history import Act, History, ListRead, Promise, Read, Shown, Write
from tests.coherence.judge import judge

KEY = "project:1"
OPEN: dict[str, tuple[Any, ...]] = {"status": ("open",)}


def act(begin: float, end: float, host: int = 0, client: str = "reader", **changes: Any) -> Act:
    given = {"worker": f"{host}a", "url": "/1", "what": ""} | changes
    return Act(begin=begin, end=end, host=host, client=client, **given)


def wrote(
    version: int | None, begin: float, end: float, host: int = 0, key: str = KEY, **state: Any
) -> Write:
    return Write(
        act=act(begin, end, host, "writer"),
        key=key,
        version=version,
        state={"title": f"T{version}", "status": "open"} | state if version else state,
    )


def saw(
    version: int | None, begin: float, host: int = 0, promise: Promise = "entity", **changes: Any
) -> Read:
    shown = None if version is None else Shown(version, changes.pop("state", {}))
    filters = changes.pop("filters", {})
    return Read(
        act=act(begin, begin + 0.01, host, **changes),
        promise=promise,
        key=KEY,
        shown=shown,
        filters=filters,
    )


def listed(begin: float, *versions: int, host: int = 0, **changes: Any) -> ListRead:
    """A page of projects, whose ids count from 1."""
    return ListRead(
        act=act(begin, begin + 0.01, host, url="/"),
        promise="list",
        kind="project",
        items={f"project:{id}": Shown(version, {}) for id, version in enumerate(versions, 1)},
        filters=OPEN,
        **changes,
    )


def rules(
    writes: Sequence[Write], reads: Sequence[Read] = (), lists: Sequence[ListRead] = ()
) -> list[str]:
    """The names of the rules that a history breaks."""
    history = History(writes=list(writes), reads=list(reads), lists=list(lists))
    return [violation.rule for violation in judge(history)]


TWO = [wrote(1, 0.0, 0.1), wrote(2, 5.0, 5.1)]


def test_the_host_of_a_write_shows_it_at_once() -> None:
    assert rules(TWO, [saw(2, 5.11)]) == []
    assert rules(TWO, [saw(1, 5.11)]) == ["stale"]


def test_until_a_write_is_acknowledged_either_state_may_be_shown() -> None:
    assert rules(TWO, [saw(1, 5.05)]) == []
    assert rules(TWO, [saw(2, 5.05)]) == []


def test_another_host_may_lag_by_a_second() -> None:
    assert rules(TWO, [saw(1, 6.09, host=1)]) == []
    assert rules(TWO, [saw(1, 6.11, host=1)]) == ["stale"]
    assert rules(TWO, [saw(2, 6.11, host=1)]) == []


def test_what_comes_from_the_database_lags_nowhere() -> None:
    assert rules(TWO, [saw(1, 5.11, host=1, promise="database")]) == ["stale"]
    assert rules(TWO, [saw(2, 5.11, host=1, promise="database")]) == []


def test_what_one_saw_is_owed_to_everybody_a_second_later() -> None:
    """Also when nobody was told that it was written, for the worker died."""
    writes = [wrote(1, 0.0, 0.1), wrote(None, 5.0, 5.1, title="T2")]
    seen = saw(2, 5.05, host=1)
    assert rules(writes, [seen, saw(1, 6.05)]) == []
    assert rules(writes, [seen, saw(1, 6.07)]) == ["stale"]


def test_a_client_goes_backward_at_no_url_of_a_worker() -> None:
    seen = saw(2, 5.05, host=1)
    assert rules(TWO, [seen, saw(1, 5.2, host=1)]) == ["backward"]
    assert rules(TWO, [seen, saw(1, 5.2, host=1, worker="1b")]) == []
    assert rules(TWO, [seen, saw(1, 5.2, host=1, client="another")]) == []


def test_an_unconfirmed_write_may_have_happened_or_not() -> None:
    writes = [wrote(1, 0.0, 0.1), wrote(None, 5.0, 5.1, title="T2")]
    assert rules(writes, [saw(1, 9.0)]) == []
    assert rules(writes, [saw(2, 9.0)]) == []
    assert rules(writes, [saw(2, 9.0), saw(1, 9.5)]) == ["backward"]
    assert rules(writes, [saw(3, 9.0), saw(2, 9.5, client="another")]) == ["unborn"]


def test_nothing_is_seen_before_it_was_begun() -> None:
    assert rules(TWO, [saw(2, 4.0)]) == ["unborn", "lost"]


def test_a_version_has_one_content() -> None:
    assert rules(TWO, [saw(2, 6.0, state={"title": "T2"})]) == []
    assert rules(TWO, [saw(2, 6.0, state={"title": "T1"})]) == ["altered"]


def test_a_version_that_no_writer_knows_has_one_content_too() -> None:
    writes = [wrote(1, 0.0, 0.1), wrote(None, 5.0, 5.1)]
    reads = [saw(2, 6.0, state={"title": "A"}), saw(2, 6.5, state={"title": "B"})]
    assert rules(writes, reads) == ["altered"]


def test_a_write_builds_on_what_was_acknowledged_before() -> None:
    assert rules([wrote(2, 0.0, 0.1), wrote(3, 5.0, 5.1)]) == []
    assert rules([wrote(2, 0.0, 0.1), wrote(2, 0.05, 0.15)]) == ["lost"]
    assert rules([wrote(3, 0.0, 0.1), wrote(2, 5.0, 5.1)]) == ["lost"]


def test_what_is_there_must_be_found() -> None:
    assert rules(TWO, [saw(None, 6.0)]) == ["missing"]
    assert rules(TWO, [saw(None, 0.05)]) == []


def test_what_may_not_be_seen_by_the_caller_may_be_not_there() -> None:
    writes = [wrote(1, 0.0, 0.1, status="draft"), wrote(2, 5.0, 5.1)]
    assert rules(writes, [saw(None, 4.0, filters=OPEN)]) == []
    assert rules(writes, [saw(None, 5.05, filters=OPEN)]) == []
    assert rules(writes, [saw(None, 5.2, filters=OPEN)]) == ["missing"]
    assert rules(writes, [saw(1, 4.0, filters=OPEN)]) == ["exposed"]


def test_a_list_holds_what_it_should_a_second_later() -> None:
    writes = [wrote(1, 0.0, 0.1), wrote(1, 5.0, 5.1, key="project:2")]
    assert rules(writes, lists=[listed(6.0, 1)]) == []
    assert rules(writes, lists=[listed(6.2, 1)]) == ["missing"]
    assert rules(writes, lists=[listed(6.2, 1, 1)]) == []
    assert rules(writes, lists=[listed(6.2, 1, 1), listed(6.3, 1)]) == ["missing", "backward"]


def test_a_list_lets_go_of_what_its_filters_exclude() -> None:
    writes = [wrote(1, 0.0, 0.1), wrote(2, 5.0, 5.1, status="cancelled")]
    assert rules(writes, lists=[listed(4.0, 1), listed(5.2, 1), listed(6.2)]) == []
    assert rules(writes, lists=[listed(4.0)]) == ["missing"]
    assert rules(writes, lists=[listed(6.2, 1)]) == ["stale"]
    assert rules(writes, lists=[listed(6.2, 2)]) == ["exposed"]
    assert rules(writes, lists=[listed(5.02), listed(5.03, 1)]) == []


def test_an_unconfirmed_write_that_would_exclude_a_thing_explains_that_it_isnt_listed() -> None:
    unsure = wrote(None, 5.0, 5.1, status="cancelled")
    assert rules([wrote(1, 0.0, 0.1), unsure], lists=[listed(9.0)]) == []
    other = wrote(None, 5.0, 5.1, title="T2")
    assert rules([wrote(1, 0.0, 0.1), other], lists=[listed(9.0)]) == ["missing"]


def test_a_full_page_leaves_out_what_is_older_than_its_last_item() -> None:
    writes = [
        wrote(1, 0.0, 0.1, created_at="2026-01-01T00:00:01"),
        wrote(1, 0.2, 0.3, key="project:2", created_at="2026-01-01T00:00:02"),
    ]
    second = replace(listed(9.0), items={"project:2": Shown(1, {})})
    assert rules(writes, lists=[second]) == ["missing"]
    assert rules(writes, lists=[replace(second, oldest="2026-01-01T00:00:02")]) == []


def test_a_total_is_that_of_a_moment_of_the_last_second() -> None:
    writes = [wrote(1, 0.0, 0.1), wrote(1, 5.0, 5.1, key="project:2")]
    for begin, total, broken in [
        (4.0, 1, []),
        (4.0, 2, ["miscounted"]),
        (5.5, 1, []),
        (5.5, 2, []),
        (6.2, 1, ["miscounted"]),
        (6.2, 2, []),
    ]:
        page = listed(begin, 1, 1) if begin > 6 else listed(begin, 1)
        assert rules(writes, lists=[replace(page, counts=((OPEN, total),))]) == broken, (
            begin,
            total,
        )


def test_things_of_other_kinds_at_the_same_url_are_told_apart() -> None:
    writes = [wrote(1, 0.0, 0.1), wrote(1, 0.0, 0.1, key="session:1")]
    page = replace(listed(3.0, 1), act=act(3.0, 3.1))
    session = replace(saw(1, 2.0), key="session:1")
    assert rules(writes, [session], [page]) == []


def test_an_unconfirmed_write_puts_a_thing_into_no_list_that_it_never_belonged_to() -> None:
    filters = OPEN | {"client_id": (2,)}
    writes = [wrote(1, 0.0, 0.1, client_id=1), wrote(None, 5.0, 5.1, title="T2")]
    foreign = replace(listed(9.0, counts=((filters, 0),)), filters=filters)
    assert rules(writes, [saw(2, 6.0)], [foreign]) == []
    own = replace(listed(9.0), filters=OPEN | {"client_id": (1,)})
    assert rules(writes, [saw(2, 6.0)], [own]) == ["missing"]
