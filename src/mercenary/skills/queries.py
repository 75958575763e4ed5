"""All that the database is asked about skills. Every function takes many and returns many."""

from collections.abc import Collection, Mapping

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Text,
    case,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.arrays import array_of, columns_of, rows_of
from mercenary.db.engine import current
from mercenary.db.metadata import as_rfc3339
from mercenary.db.page_statements import Filter, SortKey
from mercenary.db.pages import PageQuery
from mercenary.db.projection import KeyQuery, Projection
from mercenary.db.similarity import begins_with, resembles
from mercenary.http.wire import rfc3339
from mercenary.skills.schemas import Skill, SkillId
from mercenary.skills.tables import skill_ids, skills

_projection = Projection(
    Skill,
    {
        "id": skills.c.id,
        "name": skills.c.name,
        "created_at": as_rfc3339(skills.c.created_at),
        "updated_at": as_rfc3339(skills.c.updated_at),
        "version": skills.c.version,
    },
)
select_skills = KeyQuery("select_skills", _projection, skills.c.id)
_KNOWN = select(skills.c.id).where(skills.c.id == func.any(array_of("ids", BigInteger())))


async def select_known_ids(db: AsyncConnection, ids: Collection[int]) -> set[int]:
    """Those of the ids that are skills'."""
    return set((await db.execute(_KNOWN, {"ids": list(ids)})).scalars())


_NEW = rows_of("new", id=BigInteger(), name=Text())
_INSERT = (
    insert(skills)
    .from_select(list(_NEW.c.keys()), select(*_NEW.c))
    .on_conflict_do_nothing(index_elements=[func.lower(skills.c.name)])
    # As a moment, for a cluster calls no function that isn't immutable there.
    .returning(skills.c.id, skills.c.created_at)
)


async def insert_skills(
    tx: AsyncConnection, names: Mapping[SkillId, str]
) -> Mapping[SkillId, Skill]:
    """Insert skills; of names that are equal regardless of case just the first gets in.

    The database judges what is equal, by the rules of its own lower().
    """
    stored = await tx.execute(_INSERT, columns_of("new", _NEW.c.keys(), names.items()))
    times = {SkillId(row.id): rfc3339(row.created_at) for row in stored}
    return {id: Skill(id, names[id], time, time, version=1) for id, time in times.items()}


async def take_ids(tx: AsyncConnection, count: int) -> list[SkillId]:
    """Ids for skills about to be inserted."""
    return [SkillId(number) for number in await current().ids.take(tx, skill_ids, count)]


def _resembles(words: ColumnElement[str]) -> ColumnElement[bool]:
    return resembles(skills.c.name, words)


def _rank(words: ColumnElement[str]) -> ColumnElement[float]:
    # A similarity is at most 1, so every name that begins so comes before all that don't.
    bonus = case(
        (begins_with(skills.c.name, words), literal_column("2")), else_=literal_column("0")
    )
    return bonus + func.similarity(skills.c.name, words, type_=Float())


select_skill_pages = PageQuery(
    "select_skill_pages",
    _projection,
    key=skills.c.id,
    # The list is short: whatever is looked for, looking at all of it is as good a way as any.
    filters={"q": Filter(Text(), _resembles, leads=frozenset({"-rank"}))},
    sorts={
        "name": SortKey(lambda _: func.lower(skills.c.name), Text(), str),
        "-rank": SortKey(
            lambda asked: _rank(asked["q"]), Float(), float, descending=True, ranks="q"
        ),
    },
)
