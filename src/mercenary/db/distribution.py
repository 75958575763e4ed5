"""Turns a migrated database on a Citus coordinator into a distributed one, step by step.

How each table is spread stands in its `info` (`metadata.py`). Tables by a column of the same type
are co-located, whatever the column means: an event's row then lies on the server of what it is
about, and becomes visible with it. Each step commits, and what is left to do is read from Citus'
own catalogs, so a run that was broken off is continued by the next one. Whatever uses the database
must rest meanwhile, and be started anew afterwards (`topology.py`).

The names of Citus' functions and views are those of its versions 11 to 13.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ForeignKeyConstraint, MetaData, Table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import AddConstraint, CreateIndex, DropConstraint

from mercenary.db.migrate import LOCK_KEY
from mercenary.settings import SetupError

OLDEST: Final = 11
"""Citus' first major version on whose functions this leans."""
_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]


class DistributionError(SetupError):
    """The database can't be distributed: one line of what is wrong and what to do."""


class Step(msgspec.Struct, frozen=True):
    """One statement that brings the database closer. `moves`: it moves the table's rows."""

    table: str
    sql: str
    moves: bool = False


class Done(msgspec.Struct, frozen=True):
    """A step that was taken; `rows` are those of the table, as many before as afterwards."""

    table: str
    sql: str
    rows: int | None = None


class Spread(msgspec.Struct, frozen=True):
    """How a table is spread by now: by a column, or whole on every server."""

    column: str | None


class State(msgspec.Struct, frozen=True):
    """What is there: the tables that are spread, the foreign keys, and what stayed behind.

    `left` are tables that are spread, and whose rows lie on the coordinator, too, where nobody
    sees them; `missing` are extensions that the workers don't have yet.
    """

    spread: Mapping[str, Spread]
    foreign_keys: frozenset[str]
    left: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()


def crosses(key: ForeignKeyConstraint) -> bool:
    """Whether the rows that a foreign key joins may lie on different servers."""
    here, there = key.parent.info["distributed_by"], key.referred_table.info["distributed_by"]
    pairs = {(each.parent.name, each.column.name) for each in key.elements}
    return there is not None and (here, there) not in pairs


def steps(metadata: MetaData, state: State) -> list[Step]:
    """What is to be done, in an order that Citus takes.

    Foreign keys go first, since Citus refuses to distribute a table while one crosses shards or
    ties it to a table that isn't distributed yet; those that stay within a shard come back last.
    An index that would be unique across shards is made anew, and isn't unique any more.

    Raises:
        DistributionError: a table is spread in another way already.
    """
    tables = metadata.sorted_tables
    for table in tables:
        _check(table, state)
    waiting = [table for table in tables if table.name not in state.spread]
    keys = [key for table in tables for key in _keys(table)]
    loose = {str(table.name) for table in waiting}
    left = loose | (state.left & {str(table.name) for table in tables})
    found = [
        # Citus makes it on every server then, as it doesn't with what was there before itself.
        *(Step(name, f"CREATE EXTENSION IF NOT EXISTS {name}") for name in sorted(state.missing)),
        *(
            Step(str(key.parent.name), _ddl(DropConstraint(key)))
            for key in keys
            if key.name in state.foreign_keys
            and (crosses(key) or loose & {key.parent.name, key.referred_table.name})
        ),
        *(step for table in waiting for step in _loosening(table)),
        *_spreading(tables, waiting),
        *(
            Step(name, f"SELECT truncate_local_data_after_distributing_table('{name}')")
            for name in sorted(left)
        ),
        *(
            Step(str(key.parent.name), _ddl(AddConstraint(key, isolate_from_table=False)))
            for key in keys
            if not crosses(key)
            and (
                key.name not in state.foreign_keys
                or loose & {key.parent.name, key.referred_table.name}
            )
        ),
    ]
    return found + [Step(str(table.name), f"ANALYZE {table.name}") for table in waiting]


def _loosening(table: Table) -> Iterator[Step]:
    """Each index that can be unique on one server only, made anew; both may have been done."""
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        if index.unique and index.info.get("crosses_shards"):
            made = _ddl(CreateIndex(index, if_not_exists=True)).replace("UNIQUE ", "", 1)
            yield Step(str(table.name), f"DROP INDEX IF EXISTS {index.name}")
            yield Step(str(table.name), made)


def _spreading(tables: Sequence[Table], waiting: Sequence[Table]) -> list[Step]:
    """The reference tables, then the others, each with those by a column of the same type."""
    found = [
        Step(str(table.name), f"SELECT create_reference_table('{table.name}')", moves=True)
        for table in waiting
        if table.info["distributed_by"] is None
    ]
    # Whoever was distributed before leads; nobody asks a table that waits to co-locate with.
    leaders: dict[str, str] = {
        _type(table): table.name
        for table in reversed(tables)
        if table.info["distributed_by"] is not None and table not in waiting
    }
    for table in waiting:
        column = table.info["distributed_by"]
        if column is not None:
            leader = leaders.setdefault(_type(table), "none")
            leaders[_type(table)] = table.name if leader == "none" else leader
            call = f"'{table.name}', '{column}', colocate_with => '{leader}'"
            found.append(
                Step(str(table.name), f"SELECT create_distributed_table({call})", moves=True)
            )
    return found


def _check(table: Table, state: State) -> None:
    wanted = table.info["distributed_by"]
    spread = state.spread.get(table.name)
    if spread is not None and spread.column != wanted:
        raise DistributionError(
            f"{table.name} is distributed by {spread.column or 'no column'}, and not by "
            f"{wanted or 'no column'}; SELECT undistribute_table('{table.name}'), and try again"
        )


def _keys(table: Table) -> list[ForeignKeyConstraint]:
    return sorted(table.foreign_key_constraints, key=lambda key: str(key.name))


def _type(table: Table) -> str:
    return str(table.c[table.info["distributed_by"]].type)


def _ddl(statement: AddConstraint | CreateIndex | DropConstraint) -> str:
    return " ".join(str(statement.compile(dialect=_DIALECT)).split())


_VERSION = text("SELECT CASE WHEN to_regproc('citus_version') IS NOT NULL THEN 1 END")
_FACTS = text("""
    SELECT (regexp_match(citus_version(), '(\\d+)'))[1]::integer,
           (SELECT groupid = 0 FROM pg_dist_local_group),
           (SELECT count(*) FROM pg_dist_node
            WHERE groupid <> 0 AND isactive AND noderole::text = 'primary' AND shouldhaveshards)
""")
_SPREAD = text("""
    SELECT table_name::text, citus_table_type, distribution_column,
           (SELECT coalesce(sum(pg_relation_size(relid)), 0) + pg_relation_size(table_name) > 0
            FROM pg_partition_tree(table_name))
    FROM citus_tables WHERE citus_table_type IN ('distributed', 'reference')
""")
_FOREIGN_KEYS = text("""
    SELECT conname FROM pg_constraint
    WHERE contype = 'f' AND conparentid = 0 AND connamespace = 'public'::regnamespace
""")
# What the tables need of extensions, and Citus doesn't know of.
_MISSING = text("""
    SELECT extname FROM pg_extension e WHERE extname = 'pg_trgm' AND NOT EXISTS (
        SELECT FROM pg_dist_object
        WHERE classid = 'pg_extension'::regclass AND objid = e.oid
    )
""")
_BY_HASH = text("""
    SELECT relname FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid
    WHERE c.relnamespace = 'public'::regnamespace AND p.partstrat = 'h' ORDER BY relname LIMIT 1
""")
_TAKE_TURN = text("SELECT pg_try_advisory_lock(:key)").bindparams(key=LOCK_KEY)
_GIVE_BACK = text("SELECT pg_advisory_unlock(:key)").bindparams(key=LOCK_KEY)


async def look(db: AsyncConnection) -> State:
    """What is spread by now.

    Raises:
        DistributionError: this is no coordinator of a Citus cluster that has a worker.
    """
    if (await db.execute(_VERSION)).scalar() is None:
        raise DistributionError(
            "The database has no Citus; install it on every server, preload it "
            "(shared_preload_libraries = 'citus'), and run CREATE EXTENSION citus on each"
        )
    version, coordinates, workers = (await db.execute(_FACTS)).one()
    if version < OLDEST:
        raise DistributionError(f"Citus {version} is too old; {OLDEST} or a newer one is needed")
    if not coordinates:
        raise DistributionError("This is a worker; name the coordinator in the database's URI")
    if not workers:
        raise DistributionError(
            "The cluster has no worker; on the coordinator, SELECT citus_set_coordinator_host("
            "'HOST', 5432), and for each worker SELECT citus_add_node('HOST', 5432)"
        )
    if (by_hash := (await db.execute(_BY_HASH)).scalar()) is not None:
        raise DistributionError(
            f"{by_hash} is in partitions by hash, as one server has them; move the rows to a "
            "database that was migrated without partitions, and distribute that"
        )
    spread: dict[str, Spread] = {}
    left = set()
    for name, kind, column, has_rows in await db.execute(_SPREAD):
        spread[name] = Spread(None if kind == "reference" else column)
        if has_rows:
            left.add(name)
    keys = frozenset((await db.execute(_FOREIGN_KEYS)).scalars())
    missing = frozenset((await db.execute(_MISSING)).scalars())
    return State(spread, keys, frozenset(left), missing)


async def plan(db: AsyncConnection, metadata: MetaData) -> list[Step]:
    """The steps that are left, without taking any.

    Raises:
        DistributionError: the database can't be distributed.
    """
    return steps(metadata, await look(db))


async def distribute(
    db: AsyncConnection, metadata: MetaData, *, tell: Callable[[Done], None]
) -> list[Done]:
    """Take the steps that are left, and tell each when it is done.

    Raises:
        DistributionError: the database can't be distributed, somebody else is at it, or a step
            failed; those before it stay.
    """
    if not (await db.execute(_TAKE_TURN)).scalar_one():
        raise DistributionError("Somebody migrates or distributes this database now; wait for it")
    try:
        left = await plan(db, metadata)
        await db.commit()
        done = []
        for step in left:
            done.append(await _take(db, step))
            tell(done[-1])
        return done
    finally:
        if not db.invalidated:
            await db.rollback()
            await db.execute(_GIVE_BACK)
            await db.commit()


async def _take(db: AsyncConnection, step: Step) -> Done:
    """One step, in a transaction of its own.

    Raises:
        DistributionError: Citus refused it, or the rows weren't as many as before.
    """
    try:
        async with db.begin():
            if not step.moves:
                await db.execute(text(step.sql))
                return Done(step.table, step.sql)
            # Nobody writes from the first count to the last.
            await db.execute(text(f"LOCK TABLE {step.table} IN SHARE ROW EXCLUSIVE MODE"))
            before = await _count(db, step.table)
            await db.execute(text(step.sql))
            after = await _count(db, step.table)
            if before != after:
                raise DistributionError(
                    f"{step.table} had {before} rows, and {after} once it was distributed; it was "
                    "left as it had been"
                )
            return Done(step.table, step.sql, after)
    except DBAPIError as error:
        reason = str(error.orig).splitlines()[0].split(">: ")[-1]
        raise DistributionError(
            f"{step.sql} failed ({reason}); what was done before it stays, so mend this and run "
            "the command again"
        ) from error


async def _count(db: AsyncConnection, table: str) -> Any:
    return (await db.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()  # noqa: S608
