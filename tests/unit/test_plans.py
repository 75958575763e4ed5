"""What each step of a plan took itself, by documents as EXPLAIN gives them: once, and exactly."""

from typing import Any

from mercenary.db.plans import Plan, read


def step(kind: str, total: float, *below: dict[str, Any], **others: Any) -> dict[str, Any]:
    given = {"Node Type": kind, "Actual Total Time": total, "Actual Loops": 1}
    rows = {"Actual Rows": 1, "Plan Rows": 1, "Plan Width": 8}
    return given | rows | {"Plans": list(below)} | others


def plan_of(root: dict[str, Any]) -> Plan:
    return read({"Plan": root, "Planning Time": 1.0, "Execution Time": 100.0})


def own_times(plan: Plan) -> list[tuple[str, float]]:
    return [(node.kind, node.self_ms) for node in plan.root.walk()]


def test_a_step_took_what_those_below_it_did_not() -> None:
    root = step("Sort", 100.0, step("Index Scan", 2.0, **{"Actual Loops": 30}), step("Result", 5.0))
    plan = plan_of(root)
    assert own_times(plan) == [("Sort", 35.0), ("Index Scan", 60.0), ("Result", 5.0)]
    assert plan.costliest.kind == "Index Scan"


def test_processes_side_by_side_take_the_time_that_passes() -> None:
    scan = step("Seq Scan", 90.0, **{"Actual Loops": 3})
    plan = plan_of(step("Gather", 100.0, scan, **{"Workers Launched": 2}))
    assert own_times(plan) == [("Gather", 10.0), ("Seq Scan", 90.0)]


def test_a_cte_takes_its_time_once_and_none_of_its_declarer() -> None:
    declared = step("Seq Scan", 60.0, **{"Subplan Name": "CTE c"})
    scans = [step("CTE Scan", time, **{"CTE Name": "c"}) for time in (65.0, 5.0)]
    plan = plan_of(step("Aggregate", 100.0, declared, step("Append", 95.0, *scans)))
    assert own_times(plan) == [
        ("Aggregate", 5.0),
        ("Seq Scan", 60.0),
        ("Append", 25.0),
        ("CTE Scan", 5.0),
        ("CTE Scan", 5.0),
    ]
