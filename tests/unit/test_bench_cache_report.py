"""What the cache bench found is judged by what is wanted, and shown with what it means."""

from array import array
from dataclasses import asdict

import msgspec

from mercenary.bench import cache_report
from mercenary.bench.cache import Options
from mercenary.bench.cache_report import Answered
from mercenary.bench.costs import Cost
from mercenary.bench.http_answers import CACHE_WORDS
from mercenary.bench.open_load import COLUMNS, Played
from mercenary.bench.report import Row
from mercenary.bench.verdicts import Judged

HITS = Answered("all projects", 1000, 0, {"hit-memory": 800, "hit-redis": 170, "miss": 30})
IN_MEMORY = Answered("hit-memory", 1000, 0, {"hit-memory": 900, "hit-redis": 100})
IN_VALKEY = Answered("hit-valkey", 1000, 0, {"hit-memory": 100, "hit-redis": 900})


def row(*, of_bare: float = 0.5, errors: int = 0) -> Row:
    yardsticks = {"bare-asgi": of_bare}
    return Row("hit-memory", 9_000, 1.0, 2.0, 3.0, errors, 0.05, 200, 3, None, yardsticks)


def missed(*answered: Answered, **changed: float) -> list[int]:
    """The numbers of the rules that were missed, all at their bounds unless something changes."""
    found = {one.name: one for one in (HITS, IN_MEMORY, IN_VALKEY, *answered)}
    verdicts = cache_report.verdicts_of([row(**changed)], list(found.values()))  # type: ignore[arg-type]
    assert len(verdicts) == 5
    return [number for number, verdict in enumerate(verdicts) if not verdict.met]


def test_the_cache_is_judged_by_each_of_its_rules() -> None:
    assert missed() == []
    assert missed(Answered(HITS.name, 1000, 0, {"hit-memory": 969, "miss": 31})) == [0]
    assert missed(of_bare=0.49) == [1]
    assert missed(Answered(IN_MEMORY.name, 1000, 0, {"hit-memory": 899})) == [2]
    assert missed(Answered(IN_VALKEY.name, 1000, 0, {"hit-redis": 899})) == [3]
    assert missed(errors=1) == [4]
    assert missed(Answered(HITS.name, 1000, 1, HITS.words)) == [4]
    assert missed(Answered(HITS.name, 0, 0, {})) == [0]


def test_where_answers_came_from_is_counted_of_the_reads_alone() -> None:
    columns = {name: array(code, [0, 0, 0]) for name, code in COLUMNS.items()}
    columns["kind"] = array("B", [0, 1, 0])
    columns["status"] = array("H", [200, 200, 503])
    columns["cache"] = array("B", [CACHE_WORDS.index("hit-redis"), 0, 0])
    answered = cache_report.answered_in(Played(**columns), "some")
    assert answered == Answered("some", 2, 1, {"hit-redis": 1, "": 1})
    assert answered.share("hit-redis", "hit-memory") == 0.5


def test_the_report_has_every_table() -> None:
    costs = [
        Cost("hit in memory", [20.0, 10.0, 30.0], [50.0], {"hit-memory": 3}),
        Cost("mercenary", [5.0], [300.0], {"fills": 1}),
        Cost("cashews", [50.0], [100.0], {"fills": 1}),
    ]
    detail = {
        **asdict(Options()),
        "projects": 200_000,
        "callers": 10_000,
        "write_share": 0.01,
        "generator": "wrk",
        "node_bytes": 197.3,
        "answered": msgspec.to_builtins([HITS]),
        "costs": msgspec.to_builtins(costs),
    }
    machine = {"cpu": "a processor", "cores": 2, "python": "CPython", "versions": {"redis": "8"}}
    verdicts = cache_report.verdicts_of([row()], [HITS, IN_MEMORY, IN_VALKEY])
    report = Judged(machine, "abc", "mercenary", [row()], verdicts, detail)
    assert report.met
    printed = cache_report.as_markdown(report)
    assert "| hit-memory | 9,000 | 1.0 | 2.0 | 3.0 | 0 | 0.050 | 0.50 |" in printed
    assert "| all projects | 1,000 | 80.00% | 17.00% | 3.00% | 0.00% |" in printed
    assert "| hit in memory | 20 (10 to 30) | 50 | 3 hit-memory |  |" in printed
    assert "| cashews | 50 (50 to 50) | 100 | 1 fills | 3.0 |" in printed
    assert "| share of hits | 0.97 | 0.97 | met |" in printed
