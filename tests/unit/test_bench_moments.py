"""A stampede is judged by what its callers saw and by what the database was asked."""

from array import array
from collections.abc import Sequence

import msgspec

from mercenary.bench import moments
from mercenary.bench.bursts import Seen
from mercenary.bench.http_answers import CACHE_WORDS
from mercenary.bench.moments import Flush, Moment
from mercenary.bench.open_load import COLUMNS, Played
from mercenary.bench.statements import Asked
from mercenary.bench.verdicts import Judged

SECOND = 1_000_000_000
HIT, MISS = CACHE_WORDS.index("hit-memory"), CACHE_WORDS.index("miss")
READ, WRITE = 0, 1


def played_of(rows: Sequence[tuple[int, int, int, int, float, float]]) -> Played:
    """Of rows of phase, kind, filling, X-Cache's number, and seconds: due, took; all served."""
    columns = {name: array(code) for name, code in COLUMNS.items()}
    for phase, kind, filling, cache, due, took in rows:
        values = [phase, kind, filling, 200, cache, round(due * SECOND), 0, round(took * SECOND)]
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return Played(**columns)


def test_a_burst_has_the_median_times_of_its_rounds_and_the_most_reads() -> None:
    rounds = [
        [Seen(200, HIT, 1.0), Seen(200, HIT, 3.0)],
        [Seen(200, MISS, 5.0), Seen(503, 0, 70.0)],
        [Seen(200, HIT, 4.0), Seen(200, HIT, 5.0)],
    ]
    moment = moments.moment_of("kept", rounds, [Asked(0, 0), Asked(2, 3), Asked(1, 1)])
    assert moment == Moment("kept", 3, 6, 1, 0.6667, 4.0, 5.0, 5.0, 3)


def test_hits_under_load_are_those_among_the_reads() -> None:
    played = played_of(
        [
            (0, READ, 5, HIT, 0.1, 0.001),
            (1, READ, 5, HIT, 1.1, 0.002),
            (1, READ, 5, MISS, 1.2, 0.004),
            (1, WRITE, 5, 0, 1.3, 0.006),
        ]
    )
    moment = moments.phase_of("flushed", played, 1, READ, reads=7)
    assert moment == Moment("flushed", 1, 3, 0, 0.5, 4.0, 6.0, 6.0, 7)


def test_one_read_is_allowed_for_each_key_and_process_and_once_more_for_each_change() -> None:
    played = played_of(
        [
            (0, READ, 1, MISS, 0.1, 0.001),  # before
            *((1, READ, filling, MISS, 1.1, 0.001) for filling in (2, 2, 3)),
            (1, WRITE, 3, 0, 1.2, 0.001),
            (1, WRITE, 4, 0, 1.3, 0.001),  # nobody read it
        ]
    )
    assert moments.allowed_reads(played, 1, READ, processes=2) == 2 * (1 + 2)


def test_the_cache_is_back_after_the_last_second_with_too_few_hits() -> None:
    hits = [(1, READ, 1, HIT, 10 + number / 10, 0.001) for number in range(60)]
    misses = [(1, READ, 2, MISS, 10 + second, 0.001) for second in (0.55, 0.56, 2.71, 2.72)]
    played = played_of([(0, READ, 3, MISS, 9.9, 0.5), *hits, *misses])
    assert moments.recovery_of(played, 1, READ) == 3
    assert moments.recovery_of(played_of(hits), 1, READ) == 0


def test_the_slowest_second_is_that_of_the_phase() -> None:
    played = played_of(
        [
            (0, READ, 1, HIT, 0.1, 9.0),
            (1, READ, 1, HIT, 1.1, 0.001),
            (1, READ, 1, HIT, 2.3, 0.005),
            (1, READ, 1, HIT, 3.4, 0.002),
        ]
    )
    assert moments.slowest_second(played, 1) == 5.0


def moment(name: str, *, p99: float = 10.0, reads: int = 2, errors: int = 0) -> Moment:
    return Moment(name, 5, 1000, errors, 1.0, 1.0, 2.0, p99, reads)


def judged(
    *changed: Moment, slowest: float = 30.0, reads: int = 100, recovered: float = 10.0
) -> list[bool]:
    """Two processes, three lifetimes; all at its bound unless something is changed."""
    bursts = {
        one.name: one
        for one in (
            moment("kept", reads=0),
            moment("changed", p99=30.0),
            moment("expired", p99=30.0),
            moment("kept, again and again", reads=0),
            moment("expiring, again and again", p99=30.0, reads=6),
            *changed,
        )
    }
    flush = Flush(moment("before"), moment("after", reads=reads), 10.0, slowest, recovered, 100)
    return [one.met for one in moments.judge(bursts, 3, flush, processes=2)]


def test_a_stampede_is_judged_by_each_of_its_rules() -> None:
    def missed(*changed: Moment, **given: float) -> list[int]:
        verdicts = judged(*changed, **given)  # type: ignore[arg-type]
        assert len(verdicts) == 10
        return [number for number, met in enumerate(verdicts) if not met]

    assert missed() == []
    assert missed(moment("changed", p99=30.0, reads=3)) == [0]
    assert missed(moment("expired", p99=30.0, reads=3)) == [1]
    assert missed(moment("expiring, again and again", reads=7)) == [2]
    assert missed(reads=101) == [3]
    assert missed(moment("changed", p99=31.0)) == [4]
    assert missed(moment("expired", p99=31.0)) == [5]
    assert missed(moment("expiring, again and again", p99=31.0, reads=6)) == [6]
    assert missed(slowest=31.0) == [7]
    assert missed(recovered=11.0) == [8]
    assert missed(moment("kept", errors=1)) == [9]


def test_the_report_is_a_table_with_verdicts_and_conditions() -> None:
    detail = {
        "callers": 1000,
        "workers": 2,
        "projects": 970,
        "lifetime": 2,
        "rate": 5000.0,
        "share": 0.6,
    }
    machine = {"cpu": "a processor", "cores": 2, "python": "CPython"}
    report = Judged(machine, "abc", "mercenary", [moment("kept")], [], detail)
    assert report.met
    assert "| kept | 5 | 1,000 | 0 | 100.0% | 1.0 | 2.0 | 10.0 | 2 |" in moments.as_markdown(report)
    assert msgspec.json.decode(report.to_json(), type=Judged[Moment]) == report
