"""Load in an open model comes when it is due, and a storm is judged by what its callers saw."""

import asyncio
import sys
from array import array
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from mercenary.bench import storm
from mercenary.bench.open_load import (
    COLUMNS,
    NO_ANSWER,
    PARTS,
    Kind,
    Phase,
    Played,
    Score,
    read_played,
)
from mercenary.bench.traffic import Target
from tests.unit.test_bench_load import BUSY, OK, Head, server

SECOND = 1_000_000_000


async def play(folder: Path, target: Target, *phases: Phase, connections: int = 64) -> Played:
    """What a process sees that reads and writes by half."""
    for name, bodies in (("read", ()), ("write", ('{"a": 1}',))):
        for part, lines in zip(PARTS, (("ada", "bob"), bodies, ("x", "y")), strict=True):
            (folder / f"{name}.{part}").write_text("".join(f"{line}\n" for line in lines))
    kinds = [
        Kind("read", 1, "GET", "/things?q={}", ["X-Own: a b"]),
        Kind("write", 1, "POST", "/things"),
    ]
    score = Score(
        str(folder), target.host, target.port, kinds, list(phases), connections=connections, seed=1
    )
    path = folder / "score.json"
    path.write_bytes(msgspec.json.encode(score))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mercenary.bench.open_load", str(path)
    )
    assert await process.wait() == 0
    return read_played(folder)


async def test_each_request_is_of_its_kind_and_every_answer_is_told(tmp_path: Path) -> None:
    asked: list[tuple[Head, bytes]] = []

    def reply(head: Head, body: bytes) -> bytes:
        asked.append((head, body))
        return BUSY if head[0].startswith("POST") else OK

    async with server(reply) as target:
        played = await play(tmp_path, target, Phase("only", 0.5, rate=200))
    assert len(asked) == len(played.status) > 50
    assert {(kind, status) for kind, status in zip(played.kind, played.status, strict=True)} == {
        (0, 200),
        (1, 503),
    }
    keys = [line for head, _ in asked for line in head if line.startswith("Idempotency-Key")]
    assert len(set(keys)) == len(keys) == list(played.kind).count(1)
    for head, body in asked:
        assert {"Authorization: Bearer ada", "Authorization: Bearer bob"} & set(head)
        assert ("X-Own: a b" in head) is head[0].startswith("GET")
        assert body == (b'{"a": 1}' if head[0].startswith("POST") else b"")
        assert head[0].startswith("POST") or head[0].split()[1] in ("/things?q=x", "/things?q=y")


async def test_requests_come_when_they_are_due_whatever_becomes_of_the_others(
    tmp_path: Path,
) -> None:
    async with server(lambda head, body: OK) as target:
        served = await play(tmp_path, target, Phase("only", 0.5, rate=200))
    async with server(lambda head, body: b"") as target:
        hung_up = await play(tmp_path, target, Phase("only", 0.5, rate=200))
    assert served.due == hung_up.due
    assert set(served.status) == {200}
    assert set(hung_up.status) == {NO_ANSWER}
    assert list(served.due) == sorted(served.due)
    assert max(served.due) < SECOND / 2
    assert min(served.late) >= 0
    assert min(served.took) > 0


async def test_in_a_closed_phase_so_many_callers_ask_one_after_the_other(tmp_path: Path) -> None:
    open_now = most = 0

    def reply(head: Head, body: bytes) -> bytes:
        nonlocal open_now, most
        most = max(most, open_now)
        return OK

    async with server(reply) as target:
        closed, calm = Phase("closed", 0.3, callers=3), Phase("calm", 0.3, rate=100)
        played = await play(tmp_path, target, closed, calm)
    assert list(played.phase) == sorted(played.phase)
    assert list(played.phase).count(0) > 3
    assert list(played.phase).count(1) > 10
    assert set(played.status) == {200}


def played_of(rows: Sequence[tuple[int, int, int, float, float, float]]) -> Played:
    """Of rows of phase, kind, status, and seconds: due, late, took."""
    columns = {name: array(code) for name, code in COLUMNS.items()}
    for row in rows:
        phase, kind, status, due, late, took = row
        values = [
            phase,
            kind,
            0,
            status,
            0,
            *(round(seconds * SECOND) for seconds in (due, late, took)),
        ]
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return Played(**columns)


def test_a_step_tells_good_late_refused_and_failed_apart() -> None:
    played = played_of(
        [
            (0, 0, 200, 0.1, 0.0, 0.010),
            (0, 0, 201, 0.2, 0.5, 0.600),  # served, later than it is any good
            (0, 1, 503, 0.3, 0.5, 0.002),
            (0, 1, 500, 0.4, 0.0, 0.001),
            (0, 1, NO_ANSWER, 0.5, 0.0, 0.0),
        ]
    )
    (step,) = storm.steps_of(played, [Phase("only", 2, rate=1)], ["write", "read"])
    assert (step.offered, step.rate, step.refused, step.errors) == (2.5, 0.5, 1, 2)
    assert (step.p50_ms, step.p99_ms) == (10, 1100)
    assert (step.refusal_p50_ms, step.refusal_p99_ms, step.late_ms) == (2, 2, 500)
    assert step.classes["write"] == storm.Share(2, 1, 0, 10, 1100)
    assert step.classes["read"] == storm.Share(3, 0, 1, 0, 0)


def step_of(rate: float, *, p99: float = 20, refusal: float = 5, errors: int = 0) -> storm.Step:
    return storm.Step("a step", rate, rate, 0, errors, 1, 1, p99, 1, refusal, 0, {})


def verdicts(*steps: storm.Step, recovery: float = 1) -> list[bool]:
    return [one.met for one in storm.judge([step_of(20), *steps, step_of(20)], recovery)]


def test_a_storm_is_judged_by_each_of_its_rules() -> None:
    good = [step_of(100), step_of(140), step_of(130)]
    assert verdicts(*good) == [True] * 5
    assert verdicts(*good, step_of(125)) == [False, True, True, True, True]
    assert verdicts(*good, step_of(140, p99=61)) == [True, False, True, True, True]
    assert verdicts(*good, step_of(140, refusal=11)) == [True, True, False, True, True]
    assert verdicts(*good, recovery=11) == [True, True, True, False, True]
    assert verdicts(*good, step_of(140, errors=1)) == [True, True, True, True, False]


@pytest.mark.parametrize("calm", [(20, 500), (500, 20)])
def test_a_calm_step_that_was_disturbed_excuses_no_slow_storm(calm: tuple[float, float]) -> None:
    before, after = (step_of(20, p99=p99) for p99 in calm)
    slow = storm.judge([before, step_of(100, p99=61), after], 0)[1]
    assert (slow.bound, slow.met) == (60, False)


@pytest.mark.parametrize(
    ("bad", "recovered"),
    [([], 0), ([(1, 2.5, 503, 0.01)], 3), ([(1, 0.5, 200, 0.5), (1, 4.2, 500, 0.01)], 5)],
)
def test_all_is_normal_after_the_last_second_in_which_somebody_was_not_served_well(
    bad: list[tuple[int, float, int, float]], recovered: float
) -> None:
    storm_rows = [(0, 0, 503, 0.5, 0.0, 0.01)]
    calm = [(1, 0, 200, 1 + number / 10, 0.0, 0.02) for number in range(60)]
    others = [(phase, 0, status, 1 + due, 0.0, took) for phase, due, status, took in bad]
    played = played_of([*storm_rows, *calm, *others])
    phases = [Phase("storm", 1, rate=1), Phase("afterwards", 6, rate=10)]
    assert storm.recovery_of(played, phases, unloaded_p99_ms=50) == recovered


def test_the_report_is_a_table_with_verdicts_and_conditions() -> None:
    steps = [step_of(20), step_of(100), step_of(20)]
    detail = {
        "capacity": 100.0,
        "workers": 1,
        "scale": "1k",
        "callers": 10,
        "seconds": 1,
        "busy": {"api": 0.5, "others": 0.1},
        "database_core": 1,
    }
    machine = {"cpu": "a processor", "cores": 2, "python": "CPython"}
    report = storm.Report(machine, "abc", "mercenary", steps, storm.judge(steps, 0), detail)
    assert report.met
    printed = storm.as_markdown(report)
    assert printed.count("| a step |") == 3
    assert "| goodput, of its peak so far | 1 | 0.9 | met |" in printed
    assert "api 0.50, others 0.10" in printed
    assert msgspec.json.decode(report.to_json(), type=storm.Report) == report
