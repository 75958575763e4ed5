"""What PostgreSQL would do for every query of the product on a million projects.

Nothing is executed and no row is there: the planner is given the statistics of a large marketplace
(`statistics.py`). How many rows a query really looks at is for `test_plans.py`.
"""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import pytest
from sqlalchemy import Column, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.catalogue import QUERIES
from mercenary.cli.db.explain import UNPLANNED
from mercenary.db.counts import CountQuery
from mercenary.db.examples import Drawn, examples
from mercenary.db.page_statements import WALKED_ROWS
from mercenary.db.pages import PageQuery
from mercenary.db.plans import Node, Plan, foresee
from mercenary.db.sending import sent
from mercenary.local.postgres import EmbeddedPostgres
from tests.db.conftest import connected
from tests.db.plans import planning
from tests.db.statistics import FILE, restore

LARGE_ROWS: Final = 10_000
PAGE_ROWS: Final = 20
WORK_MEMORY: Final = 4 << 20
"""Bytes: PostgreSQL's own work_mem, whatever the embedded server is given."""
# They go through a queue, which is short but after an outage.
QUEUES: Final[Mapping[str, str]] = {
    "cdn.waiting": "cdn_purges",
    "cdn.left": "cdn_purges",
    "cdn.delete_others": "cdn_purges",
    "outbox.backlog": "outbox",
    "outbox.stamped": "outbox",
}


class Foreseen(NamedTuple):
    """A query's form, and its plan for common, for rare or for any values."""

    name: str
    form: str
    values: str
    plan: Plan

    def __str__(self) -> str:
        return f"{self.name}:{self.form} for {self.values} values"


class Index(NamedTuple):
    """An index, and whether it leads to what a foreign key refers from."""

    name: str
    comment: str | None
    is_unique: bool
    refers: bool


class Million(NamedTuple):
    """What is known of the large marketplace."""

    plans: Sequence[Foreseen]
    indexes: Sequence[Index]
    large: Mapping[str, float]
    """The rows of each large table."""

    def asked(self) -> Iterator[Foreseen]:
        """The plans of whatever isn't a count of a list."""
        return (each for each in self.plans if not each.name.endswith("_counts"))

    def used(self) -> Mapping[str, set[str]]:
        """The queries that use each index."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for each in self.plans:
            for node in each.plan.root.walk():
                if node.on is not None and "Index" in node.kind:
                    found[node.on].add(each.name)
        return found


_INDEXES: Final = """
    SELECT c.relname, obj_description(c.oid, 'pg_class'),
           i.indisunique, EXISTS (
               SELECT FROM pg_constraint k
               WHERE k.conrelid = i.indrelid AND k.contype = 'f' AND k.conkey[1] = i.indkey[0]
           )
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE c.relnamespace = 'public'::regnamespace
"""


@pytest.fixture(scope="module")
async def million(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[Million]:
    """A database that the planner takes for large, and a plan for whatever it could be asked."""
    statistics = json.loads(FILE.read_text(encoding="utf-8"))
    large = {
        name: each["rows"]
        for name, each in statistics["relations"].items()
        if each["rows"] >= LARGE_ROWS
    }
    async with connected(postgres.uri) as server:
        await server.execute(f"CREATE DATABASE million TEMPLATE {template}")
    uri = postgres.uri.replace("/mercenary?", "/million?")
    async with connected(uri) as connection:
        await restore(connection, statistics)
        indexes = [Index(*row) for row in await connection.fetch(_INDEXES)]
    async with planning(uri) as db:
        yield Million([each async for each in foreseen(db)], indexes, large)
    async with connected(postgres.uri) as server:
        await server.execute("DROP DATABASE million WITH (FORCE)")


async def foreseen(db: AsyncConnection) -> AsyncIterator[Foreseen]:
    """Searches are planned for their values, as they are sent, and whatever else for any."""
    known = await _known(db)
    for name, query in QUERIES.items():
        searches = isinstance(query.declared, PageQuery | CountQuery)
        for form, statement in query.forms().items():
            asked = sent(statement, {})
            if UNPLANNED.match(asked.text):
                continue
            if not searches or "LATERAL" in asked.text:
                plan = await foresee(db, *asked, generic=True)
                yield Foreseen(name, form, "any", plan)
            elif not form.endswith("/numbered"):  # only further than the first page
                for values, place in (("common", 0), ("rare", -1)):
                    given = await examples(db, statement, known.drawing(place))
                    plan = await foresee(db, *sent(statement, given))
                    yield Foreseen(name, form, values, plan)


class _Known(NamedTuple):
    """Values of each column, from the commonest to the last of the range."""

    values: Mapping[tuple[str, str], Sequence[str]]

    def drawing(self, place: int) -> Callable[[AsyncConnection, Mapping[str, Column[Any]]], Any]:
        """How examples are drawn that stand at this place."""

        async def draw(_: AsyncConnection, columns: Mapping[str, Column[Any]]) -> Drawn:
            found = {name: self._read(column) for name, column in columns.items()}
            return {name: [values[place]] for name, values in found.items() if values}

        return draw

    def _read(self, column: Column[Any]) -> list[Any]:
        values = self.values.get((str(column.table), column.name), ())
        kind: type[Any] = str if column.name == "search" else column.type.python_type
        read = datetime.fromisoformat if issubclass(kind, datetime) else kind
        return [read(each) for each in values]


async def _known(db: AsyncConnection) -> _Known:
    rows = await db.execute(
        text("""
            SELECT tablename::text, attname::text,
                   coalesce(most_common_elems::text::text[], most_common_vals::text::text[], '{}')
                   || coalesce(histogram_bounds::text::text[], '{}')
            FROM pg_stats WHERE schemaname = 'public'
        """)
    )
    known = _Known({(table, column): values for table, column, values in rows})
    await db.rollback()
    return known


def test_no_large_table_is_read_whole(million: Million) -> None:
    """But for counts, which look at all that they count (decision 26)."""
    faults = [
        f"{each} reads {node.table} whole"
        for each in million.asked()
        for node in planned_for(each.plan.root, million.large)
        if node.kind == "Seq Scan"
        and node.table in million.large
        and QUEUES.get(each.name) != node.table
    ]
    assert "\n".join(faults) == ""


def planned_for(node: Node, large: Mapping[str, float]) -> Iterator[Node]:
    """The steps, without those that a search has for when its walk doesn't fill the page.

    Where more rows are taken to match than the walk needs, it does, and these are never executed.
    """
    if "One-Time Filter" in node.details and all(
        each.estimated * WALKED_ROWS >= large.get(each.table or "", 0) * PAGE_ROWS
        for each in node.walk()
        if each.kind == "Seq Scan"
    ):
        return
    yield node
    for below in node.below:
        yield from planned_for(below, large)


def test_nothing_takes_to_the_disk(million: Million) -> None:
    """But for counts, which join all that they count."""
    faults = [
        f"{each}: {node.kind} of {node.estimated:,.0f} rows of {node.width} bytes"
        for each in million.asked()
        for node, size in held(each.plan.root)
        if size > WORK_MEMORY
    ]
    assert "\n".join(faults) == ""


def held(node: Node, wanted: float = float("inf")) -> Iterator[tuple[Node, float]]:
    """What each sort and hash is taken to hold at once, in bytes, as PostgreSQL reckons.

    A row has a header of 24 bytes; a sort for the first rows holds no more than twice as many, and
    a hash may take twice the memory (hash_mem_multiplier).
    """
    if node.kind in ("Sort", "Hash"):
        size = min(node.estimated, 2 * wanted) * (node.width + 24)
        yield node, size / 2 if node.kind == "Hash" else size
    for below in node.below:
        yield from held(below, node.estimated if node.kind == "Limit" else float("inf"))


def test_every_index_is_used_by_a_query_or_holds_a_rule(million: Million) -> None:
    used = million.used()
    idle = {each.name for each in million.indexes if not (each.is_unique or each.refers)}
    assert idle - used.keys() == set()


def test_each_comment_names_a_query_that_uses_the_index(million: Million) -> None:
    """Or says that it is there to keep something unique."""
    used = million.used()
    faults = [
        f"{each.name} is for {each.comment}, and used by {sorted(used.get(each.name, ()))}"
        for each in million.indexes
        if each.comment is not None  # those of the tables' own keys need none
        and each.comment.partition(": ")[0] not in used.get(each.name, ())
        and not (each.is_unique and each.comment.startswith("unique: "))
    ]
    assert "\n".join(faults) == ""
