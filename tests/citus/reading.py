"""A statement as PostgreSQL's own parser reads it: its levels, their tables, what joins and pins.

A level is a SELECT, INSERT, UPDATE or DELETE, whether it is the statement itself or within another.
Column names are looked up as PostgreSQL does: in the level's tables, then in those around it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from pglast import ast, parse_sql
from pglast.enums import A_Expr_Kind, BoolExprType, JoinType
from sqlalchemy import Table

import mercenary.app
import mercenary.cdn.tables  # noqa: F401 - whoever has tables declares them
from mercenary.db.metadata import metadata

QUERIES: Final = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)
OUTER: Final = (JoinType.JOIN_LEFT, JoinType.JOIN_RIGHT, JoinType.JOIN_FULL)
TABLES: Final[Mapping[str, Table]] = dict(metadata.tables)


class Place(NamedTuple):
    """A column of something that a level reads."""

    level: "Level"
    alias: str
    column: str


class Join(NamedTuple):
    """A JOIN of a level, with the aliases on either side."""

    kind: JoinType
    left: frozenset[str]
    right: frozenset[str]


@dataclass(eq=False)
class Level:
    """One query; `sources` are the tables it reads or changes by alias, None where it is another
    query, a function or a view."""

    node: Any
    outer: "Level | None" = None
    sources: dict[str, Table | None] = field(default_factory=dict)
    joins: list[Join] = field(default_factory=list)
    lateral: bool = False
    """Within a FROM, as LATERAL."""
    inner: list["Level"] = field(default_factory=list)

    @cached_property
    def spread(self) -> dict[str, str]:
        """The distribution column of each table that is spread, by alias."""
        return {
            alias: table.info["distributed_by"]
            for alias, table in self.sources.items()
            if table is not None and table.info["distributed_by"] is not None
        }

    @property
    def is_query(self) -> bool:
        """Whether it is none of the commands, such as VACUUM."""
        return isinstance(self.node, QUERIES)

    @property
    def is_change(self) -> bool:
        """Whether it is no SELECT."""
        return not isinstance(self.node, ast.SelectStmt)

    @cached_property
    def conditions(self) -> list[Any]:
        """What must all be true of a row."""
        where = getattr(self.node, "whereClause", None)
        return [*_conjuncts(where), *self._ons(JoinType.JOIN_INNER)]

    @cached_property
    def equal(self) -> list[tuple[Place, Place]]:
        """Columns that are asked to be equal, of this level or those around it."""
        return [
            (left, right)
            for each in [*self.conditions, *self._ons(*OUTER)]
            if _is(each, A_Expr_Kind.AEXPR_OP, "=")
            and (left := self.place(each.lexpr)) is not None
            and (right := self.place(each.rexpr)) is not None
        ]

    def named(self, *, by_list: bool) -> set[str]:
        """The aliases of spread tables whose shard is named: the distribution column equals a
        value, or with `by_list` is among some; or equals that of one whose shard is named."""
        kinds = {A_Expr_Kind.AEXPR_OP} | ({A_Expr_Kind.AEXPR_OP_ANY} if by_list else set())
        known = set()
        for each in self.conditions:
            place = self.place(each.lexpr) if isinstance(each, ast.A_Expr) else None
            if (
                place is not None
                and self._is_key(place)
                and any(_is(each, kind, "=") for kind in kinds)
                and not any(
                    isinstance(node, (ast.ColumnRef, *QUERIES)) for node in walk(each.rexpr)
                )
            ):
                known.add(place.alias)
        return self._spread_from(known)

    @cached_property
    def together(self) -> bool:
        """Whether the rows of all its spread tables lie on one server, and with those around it."""
        if not self.spread:
            return True
        first = next(iter(self.spread))
        known = self._spread_from({first})
        if known != set(self.spread):
            return False
        return not self.is_correlated or self._is_tied()

    @cached_property
    def is_correlated(self) -> bool:
        """Whether it names columns of spread tables around it."""
        return any(
            place is not None and place.level not in self.all and place.alias in place.level.spread
            for level in self.all
            for node in level.nodes
            for place in [level.place(node)]
        )

    def place(self, node: Any) -> Place | None:
        """Which column a reference means; None where it is no reference."""
        if not isinstance(node, ast.ColumnRef) or not isinstance(node.fields[-1], ast.String):
            return None
        names = [name.sval for name in node.fields]
        level: Level | None = self
        while level is not None:
            for alias, table in level.sources.items():
                if alias == names[0] if len(names) > 1 else _has(table, names[0]):
                    return Place(level, alias, names[-1])
            level = level.outer
        return None

    @cached_property
    def nodes(self) -> list[Any]:
        """What it is made of, without the queries within."""
        return [each for child in children(self.node) for each in walk(child, into_queries=False)]

    def functions(self, node: Any = None) -> Iterator[tuple[str, Any]]:
        """The functions it calls itself, or those of a part of it, by name."""
        for each in self.nodes if node is None else walk(node, into_queries=False):
            if isinstance(each, ast.FuncCall):
                yield each.funcname[-1].sval, each
            elif isinstance(each, ast.SQLValueFunction):
                yield "now", each

    @cached_property
    def all(self) -> list["Level"]:
        """It and all within."""
        return [self, *(deeper for level in self.inner for deeper in level.all)]

    def _ons(self, *kinds: JoinType) -> Iterator[Any]:
        for node in self.nodes:
            if isinstance(node, ast.JoinExpr) and node.jointype in kinds:
                yield from _conjuncts(node.quals)

    def _is_key(self, place: Place) -> bool:
        return place.level.spread.get(place.alias) == place.column

    def _spread_from(self, known: set[str]) -> set[str]:
        """These aliases, and all whose distribution columns are equal to theirs."""
        known = set(known)
        while True:
            more = {
                there.alias
                for pair in self.equal
                for here, there in (pair, pair[::-1])
                if here.level is self is there.level
                and here.alias in known
                and self._is_key(here)
                and self._is_key(there)
            }
            if more <= known:
                return known
            known |= more

    def _is_tied(self) -> bool:
        """Whether it is joined with a table around it by both distribution columns."""
        return any(
            {left.level is self, right.level is self} == {True, False}
            and self._is_key(left)
            and self._is_key(right)
            for left, right in self.equal
        )


def read(statement: str) -> Level:
    """The statement's outermost level.

    Raises:
        pglast.parser.ParseError: PostgreSQL wouldn't take it.
    """
    (raw,) = parse_sql(statement)
    return _level(raw.stmt, None)


def children(node: Any) -> Iterator[Any]:
    """The nodes right below."""
    for name in node:
        yield from _flat(getattr(node, name))


def walk(node: Any, *, into_queries: bool = True) -> Iterator[Any]:
    """A node and all below it."""
    for each in _flat(node):
        yield each
        if into_queries or not isinstance(each, QUERIES):
            for child in children(each):
                yield from walk(child, into_queries=into_queries)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, ast.Node):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _flat(each)


def _level(node: Any, outer: Level | None, *, lateral: bool = False) -> Level:
    level = Level(node, outer, lateral=lateral)
    if isinstance(node, QUERIES[1:]):
        _add(level, node.relation)
    for name in ("fromClause", "usingClause"):
        for item in getattr(node, name, None) or ():
            _add(level, item)
    within_from = {
        id(each.subquery): bool(each.lateral)
        for each in level.nodes
        if isinstance(each, ast.RangeSubselect)
    }
    for each in level.nodes:
        if isinstance(each, QUERIES):
            inside = _level(each, level, lateral=within_from.get(id(each), False))
            level.inner.append(inside)
    return level


def _add(level: Level, item: Any) -> frozenset[str]:
    """Add an item of FROM to a level's sources; the aliases that it brings."""
    match item:
        case ast.JoinExpr():
            left, right = _add(level, item.larg), _add(level, item.rarg)
            level.joins.append(Join(item.jointype, left, right))
            return left | right
        case ast.RangeTableSample():
            return _add(level, item.relation)
        case ast.RangeVar():
            alias, table = item.relname, TABLES.get(item.relname)
            if item.relname in _ctes(level):
                table = None
        case _:
            alias, table = f"#{len(level.sources)}", None
    if item.alias is not None:
        alias = item.alias.aliasname
    level.sources[alias] = table
    return frozenset({alias})


def _ctes(level: Level) -> Iterator[str]:
    around: Level | None = level
    while around is not None:
        clause = getattr(around.node, "withClause", None)
        yield from (each.ctename for each in (clause.ctes if clause else ()))
        around = around.outer


def _conjuncts(condition: Any) -> Iterable[Any]:
    if isinstance(condition, ast.BoolExpr) and condition.boolop == BoolExprType.AND_EXPR:
        for each in condition.args:
            yield from _conjuncts(each)
    elif condition is not None:
        yield condition


def _is(node: Any, kind: A_Expr_Kind, operator: str) -> bool:
    return isinstance(node, ast.A_Expr) and node.kind == kind and node.name[-1].sval == operator


def _is_given(value: Any) -> bool:
    """Whether a value is known without a look at any row."""
    return not any(isinstance(node, (ast.ColumnRef, *QUERIES)) for node in walk(value))


def _has(table: Table | None, column: str) -> bool:
    return table is not None and column in table.c
