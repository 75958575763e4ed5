"""What Citus (11 to 13) refuses, a rule each, and what it would do to another end than is meant.

A rule is given the outermost level of a statement and yields what is wrong. It may refuse more than
Citus does, where less was simpler to say and the product has no need of the rest; never less. Names
of functions in C are Citus' own, below `src/backend/distributed/planner`; «Workarounds» is the
chapter «SQL Support and Workarounds» of its manual.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from pglast import ast
from pglast.enums import JoinType, OnConflictAction

from tests.citus.reading import QUERIES, TABLES, Level, walk

Rule = Callable[[Level], Iterator[str]]

# What PostgreSQL calls volatile and stable, of what anybody would call; `test_rules.py` compares
# with a server.
VOLATILE: Final = frozenset({
    "clock_timestamp", "gen_random_uuid", "nextval", "pg_advisory_xact_lock", "random",
    "pg_try_advisory_xact_lock", "set_config", "setval", "pg_current_wal_flush_lsn",
    "pg_current_wal_insert_lsn",
})  # fmt: skip
STABLE: Final = frozenset({
    "current_setting", "now", "pg_current_snapshot", "pg_current_xact_id", "statement_timestamp",
    "to_char", "transaction_timestamp",
})  # fmt: skip
OF_A_SERVER: Final = frozenset({
    "current_setting", "nextval", "pg_advisory_xact_lock", "pg_current_snapshot",
    "pg_current_wal_flush_lsn", "pg_current_wal_insert_lsn", "pg_current_xact_id",
    "pg_is_in_recovery", "pg_try_advisory_xact_lock", "set_config", "setval",
})  # fmt: skip
"""What means another thing on each server."""


def locks_on_one_shard(statement: Level) -> Iterator[str]:
    """FOR UPDATE and the like need one shard, named by value (Workarounds, «SELECT … FOR UPDATE
    work in single-shard queries only»)."""
    for level in statement.all:
        one = level.outer is None and level.named(by_list=False) == set(level.spread)
        if level.spread and getattr(level.node, "lockingClause", None) and not one:
            yield f"locks rows of {_list(level.spread)} on more than one shard"


def joins_by_distribution_column(statement: Level) -> Iterator[str]:
    """Tables that are spread are joined by their distribution columns (multi_router_planner.c and
    query_pushdown_planning.c, «complex joins are only supported when all distributed tables are
    co-located and joined on their distribution columns»)."""
    for level in statement.all:
        kinds = {str(_table(level, alias).c[key].type) for alias, key in level.spread.items()}
        if len(kinds) > 1 or not level.together:
            yield f"joins {_list(level.spread)} by other columns than the distribution columns"


def correlates_with_spread_rows(statement: Level) -> Iterator[str]:
    """A subquery that looks at a row of what lies on every server whole may not read what is spread
    (query_pushdown_planning.c, DeferErrorIfFromClauseRecurs)."""
    for level in statement.all:
        around = level.outer
        if around is None or not level.spread or around.spread:
            continue
        names = {node.fields[0].sval for node in _columns(level) if len(node.fields) > 1}
        if names & set(around.sources):
            yield f"reads {_list(level.spread)} for each row of what isn't spread"


def outer_joins_keep_spread_rows(statement: Level) -> Iterator[str]:
    """An outer join may not keep rows of what lies on every server whole beside a spread table
    (Workarounds of 10 and 11; later versions send the whole table around instead)."""
    for level in statement.all:
        for join in level.joins:
            kept = {
                JoinType.JOIN_LEFT: [(join.left, join.right)],
                JoinType.JOIN_RIGHT: [(join.right, join.left)],
                JoinType.JOIN_FULL: [(join.left, join.right), (join.right, join.left)],
            }.get(join.kind, [])
            for keeping, other in kept:
                if not keeping & set(level.spread) and other & set(level.spread):
                    yield f"an outer join keeps {_list(keeping)} beside {_list(other)}"


def nothing_lateral(statement: Level) -> Iterator[str]:
    """LATERAL over a spread table goes where it is joined by the distribution column and has no
    LIMIT (query_pushdown_planning.c, DeferredErrorIfUnsupportedLateralSubquery)."""
    for level in statement.all:
        if level.lateral and any(deeper.spread for deeper in level.all):
            yield "a LATERAL subquery reads a table that is spread"


def no_grouping_sets(statement: Level) -> Iterator[str]:
    """GROUPING SETS, CUBE and ROLLUP need one shard (Workarounds)."""
    for level in statement.all:
        if level.spread and any(isinstance(node, ast.GroupingSet) for node in level.nodes):
            yield "has grouping sets"


def no_samples(statement: Level) -> Iterator[str]:
    """TABLESAMPLE needs one shard (Workarounds)."""
    for level in statement.all:
        if level.spread and any(isinstance(node, ast.RangeTableSample) for node in level.nodes):
            yield "samples a table"


def no_recursion(statement: Level) -> Iterator[str]:
    """WITH RECURSIVE needs one shard (recursive_planning.c, RecursivelyPlanCTEs)."""
    for level in statement.all:
        clause = getattr(level.node, "withClause", None)
        if clause is not None and clause.recursive and _reads_spread(statement):
            yield "has a recursive query"


def queries_of_one_level(statement: Level) -> Iterator[str]:
    """A CTE may not look at what is around its statement (recursive_planning.c, «CTEs that refer to
    other subqueries are not supported in multi-shard queries»)."""
    for level in statement.all:
        has_cte = level.outer is not None and getattr(level.node, "withClause", None) is not None
        if has_cte and level.is_correlated and _reads_spread(level):
            yield "has a CTE within a subquery that looks at rows around it"


def no_merge(statement: Level) -> Iterator[str]:
    """MERGE goes for few pairs of tables only, and from 11.3 on (Workarounds)."""
    if any(isinstance(level.node, ast.MergeStmt) for level in statement.all):
        yield "is a MERGE"


def views_by_themselves(statement: Level) -> Iterator[str]:
    """A materialized view is a table of the coordinator's, and isn't joined with what is spread
    (Workarounds, «Local tables»; 10 and later send one of both around)."""
    for level in statement.all:
        named = {node.relname for node in level.nodes if isinstance(node, ast.RangeVar)}
        if level.spread and any(name.startswith("stats_") for name in named - set(TABLES)):
            yield f"joins a view of the coordinator's with {_list(level.spread)}"


def changes_by_themselves(statement: Level) -> Iterator[str]:
    """An UPDATE or DELETE of several shards isn't joined with parameters as rows
    (multi_router_planner.c, ModifyQuerySupported), and has no subquery."""
    for level in statement.all:
        if not isinstance(level.node, ast.UpdateStmt | ast.DeleteStmt) or not level.spread:
            continue
        one = level.named(by_list=False) == set(level.spread)
        if len(level.sources) > 1 and not (one and len(level.spread) == len(level.sources)):
            yield "changes rows joined with what isn't spread"
        if level.inner and not (one and all(deeper.together for deeper in level.inner)):
            yield "changes rows of several shards by what a subquery finds"


def changes_call_nothing_volatile(statement: Level) -> Iterator[str]:
    """Volatile functions would come out differently on each server (multi_router_planner.c,
    «functions used in UPDATE queries on distributed tables must not be VOLATILE»; of WHERE too)."""
    for level in _changes(statement):
        for name, _ in level.functions():
            if name in VOLATILE:
                yield f"calls {name}(), which is volatile, in a change"


def changes_call_nothing_stable_of_a_row(statement: Level) -> Iterator[str]:
    """Stable functions are called by the coordinator, which has no row (multi_router_planner.c,
    «STABLE functions used in UPDATE queries cannot be called with column references»). A time and
    an interval are added by such a function."""
    for level in _changes(statement):
        for name, call in level.functions():
            if name in STABLE and any(True for _ in _columns(call)):
                yield f"calls {name}(), which is stable, with a column"
        for node in level.nodes:
            if _adds_interval(node) and any(True for _ in _columns(node)):
                yield "adds an interval to a column"


def changes_choose_by_immutable_values(statement: Level) -> Iterator[str]:
    """CASE and COALESCE of a change hold nothing but immutable functions (multi_router_planner.c,
    «non-IMMUTABLE functions are not allowed in CASE or COALESCE statements»)."""
    for level in statement.all:
        if level.is_change:
            for node in level.nodes:
                if isinstance(node, ast.CaseExpr | ast.CoalesceExpr):
                    for name, _ in level.functions(node):
                        if name in VOLATILE | STABLE:
                            yield f"calls {name}() in CASE or COALESCE"


def conflicts_lead_to_immutable_values(statement: Level) -> Iterator[str]:
    """What ON CONFLICT sets and asks is immutable (multi_router_planner.c, «functions used in the
    DO UPDATE SET clause of INSERTs on distributed tables must be marked IMMUTABLE», and WHERE)."""
    for level in statement.all:
        clause = getattr(level.node, "onConflictClause", None)
        if clause is not None and clause.action == OnConflictAction.ONCONFLICT_UPDATE:
            for name, _ in level.functions((*clause.targetList, clause.whereClause)):
                if name in VOLATILE | STABLE:
                    yield f"calls {name}() in ON CONFLICT"
            for node in walk((*clause.targetList, clause.whereClause)):
                if _adds_interval(node):
                    yield "adds an interval to a time in ON CONFLICT, which isn't immutable"


def answers_are_immutable(statement: Level) -> Iterator[str]:
    """RETURNING holds columns and immutable functions (multi_router_planner.c, «non-IMMUTABLE
    functions are not allowed in the RETURNING clause»)."""
    for level in statement.all:
        clause = getattr(level.node, "returningClause", None)
        if clause is not None:
            for name, _ in level.functions(clause.exprs):
                if name in VOLATILE | STABLE:
                    yield f"returns {name}()"


def rows_stay_on_their_shard(statement: Level) -> Iterator[str]:
    """No change of a distribution column (multi_router_planner.c, «modifying the partition value of
    rows is not allowed»)."""
    for level in statement.all:
        table, key = _target(level)
        conflict = getattr(level.node, "onConflictClause", None)
        sets = level.node.targetList if isinstance(level.node, ast.UpdateStmt) else ()
        for each in (*sets, *((conflict.targetList or ()) if conflict is not None else ())):
            if key is not None and each.name == key:
                yield f"sets {table}.{key}, by which rows are spread"


def inserts_name_the_distribution_column(statement: Level) -> Iterator[str]:
    """A row that doesn't say where it belongs can't be stored (multi_physical_planner.c, «cannot
    perform an INSERT without a partition column value»)."""
    for level in statement.all:
        table, key = _target(level)
        if not isinstance(level.node, ast.InsertStmt) or key is None:
            continue
        if key not in {column.name for column in level.node.cols or ()}:
            yield f"inserts into {table} without {key}"


def inserts_select_or_give_values(statement: Level) -> Iterator[str]:
    """No subquery among VALUES (Workarounds, «Subqueries within INSERT queries are not
    supported»)."""
    for level in statement.all:
        if isinstance(level.node, ast.InsertStmt) and level.node.selectStmt is not None:
            values = level.node.selectStmt.valuesLists
            if values and any(isinstance(node, QUERIES) for node in walk(values)):
                yield "has a subquery among VALUES"


def servers_are_asked_by_themselves(statement: Level) -> Iterator[str]:
    """What is of a server is asked of the coordinator by a statement that reads no table of the
    cluster: any other runs on whichever worker (multi_router_planner.c, CreateDummyPlacement).

    A SELECT that an INSERT stores is run by the coordinator when it reads no table.
    """
    reads = any(
        table is not None
        for level in statement.all
        if not isinstance(level.node, ast.InsertStmt)
        for table in level.sources.values()
    )
    for level in statement.all if reads else ():
        for name, _ in level.functions():
            if name in OF_A_SERVER:
                yield f"calls {name}() beside a table of the cluster"


RULES: Final[tuple[Rule, ...]] = (
    locks_on_one_shard,
    joins_by_distribution_column,
    correlates_with_spread_rows,
    outer_joins_keep_spread_rows,
    nothing_lateral,
    no_grouping_sets,
    no_samples,
    no_recursion,
    queries_of_one_level,
    no_merge,
    views_by_themselves,
    changes_by_themselves,
    changes_call_nothing_volatile,
    changes_call_nothing_stable_of_a_row,
    changes_choose_by_immutable_values,
    conflicts_lead_to_immutable_values,
    answers_are_immutable,
    rows_stay_on_their_shard,
    inserts_name_the_distribution_column,
    inserts_select_or_give_values,
    servers_are_asked_by_themselves,
)


def faults(statement: Level) -> list[str]:
    """What Citus would refuse, or do to another end."""
    return [fault for rule in RULES for fault in rule(statement)]


def _changes(statement: Level) -> Iterator[Level]:
    for level in statement.all:
        if isinstance(level.node, ast.UpdateStmt | ast.DeleteStmt):
            yield level


def _target(level: Level) -> tuple[str, str | None]:
    """The table that is changed, and its distribution column."""
    if not level.is_change:
        return "", None
    name = level.node.relation.relname
    table = TABLES.get(name)
    return name, None if table is None else table.info["distributed_by"]


def _table(level: Level, alias: str) -> Any:
    return level.sources[alias]


def _reads_spread(level: Level) -> bool:
    return any(each.spread for each in level.all)


def _columns(part: Any) -> Iterator[Any]:
    nodes = part.nodes if isinstance(part, Level) else walk(part)
    return (node for node in nodes if isinstance(node, ast.ColumnRef))


def _adds_interval(node: Any) -> bool:
    """Whether a node adds or takes away what is cast to an interval, or made one."""
    if not isinstance(node, ast.A_Expr) or node.name[-1].sval not in ("+", "-"):
        return False
    return any(
        (isinstance(side, ast.TypeCast) and side.typeName.names[-1].sval == "interval")
        or (isinstance(side, ast.FuncCall) and side.funcname[-1].sval == "make_interval")
        for side in (node.lexpr, node.rexpr)
    )


def _list(names: Any) -> str:
    return ", ".join(sorted(names))
