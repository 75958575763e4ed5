"""All that the database is asked about users. Every function takes many and returns many."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Integer,
    Numeric,
    Result,
    Select,
    SmallInteger,
    Text,
    bindparam,
    cast,
    delete,
    false,
    func,
    insert,
    literal_column,
    null,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.arrays import array_of, columns_of, list_of, rows_of
from mercenary.db.changes import Changes
from mercenary.db.counts import Facet
from mercenary.db.engine import current
from mercenary.db.locks import Lock
from mercenary.db.metadata import as_rfc3339
from mercenary.db.page_statements import Filter, SortKey
from mercenary.db.pages import PageQuery
from mercenary.db.projection import KeyQuery, Projection
from mercenary.http.access import Role, UserId
from mercenary.http.wire import rfc3339
from mercenary.users.schemas import ERASED_NAME, Account, SkillLevel, User
from mercenary.users.tables import user_ids, user_skills, users

# Pairs of skill and level: an array of two dimensions, which one subquery reads.
_skills = list_of(
    select(array([user_skills.c.skill_id, cast(user_skills.c.level, BigInteger)]))
    .where(user_skills.c.user_id == users.c.id)
    .order_by(user_skills.c.skill_id)
).label("skills")


def _levels(pairs: Sequence[Sequence[int]]) -> list[SkillLevel]:
    return [SkillLevel(skill_id, level) for skill_id, level in pairs]


_projection = Projection(
    User,
    {
        "id": users.c.id,
        "name": users.c.name,
        "role": users.c.role,
        "headline": users.c.headline,
        "bio": users.c.bio,
        "skills": _skills,
        "hourly_rate": users.c.hourly_rate,
        "currency": users.c.currency,
        "country": users.c.country,
        "created_at": as_rfc3339(users.c.created_at),
        "updated_at": as_rfc3339(users.c.updated_at),
        "version": users.c.version,
        "email": users.c.email,
        "is_active": users.c.is_active,
    },
    converts={"skills": _levels},
)
# What isn't for everybody isn't even read for everybody.
_public = _projection.replaced(email=null().label("email"), is_active=null().label("is_active"))

# Active or not, with what only they and admins may see.
select_users = KeyQuery("select_users", _projection, users.c.id, always=("is_active",))
# As everybody may see them.
select_public_users = KeyQuery(
    "select_public_users", _public, users.c.id, condition=users.c.is_active == true()
)

_AMONG = users.c.id == func.any(array_of("ids", BigInteger()))
_ACCOUNTS = select(users.c.id, users.c.role, users.c.is_active, users.c.email).where(_AMONG)
_LOCK = Lock(select(users.c.id), nameable=True, id=users.c.id)


async def select_accounts(db: AsyncConnection, ids: Sequence[UserId]) -> Mapping[UserId, Account]:
    """Accounts by id, active or not."""
    rows = (await db.execute(_ACCOUNTS, {"ids": ids})).all()
    return {row.id: Account(row.id, row.role, row.is_active, row.email) for row in rows}


async def lock_users(tx: AsyncConnection, ids: Collection[UserId]) -> dict[UserId, User]:
    """Users by id, held by this transaction; rows are locked in the order of their ids.

    Locked first and read after: a read that waits for a lock would see the row anew, and its
    skills as they were before.
    """
    await _LOCK.hold(tx, ids)
    return await select_users.whole(tx, list(set(ids)))


_NEW = rows_of(
    "new", id=BigInteger(), email=Text(), name=Text(), role=Text(), currency=Text(), country=Text()
)
_INSERT = (
    insert(users).from_select(list(_NEW.c.keys()), select(*_NEW.c)).returning(users.c.created_at)
)


async def insert_users(tx: AsyncConnection, new: Sequence[User]) -> Sequence[User]:
    """Insert users with ids of theirs and an empty profile; the times come back filled in."""
    names = list(_NEW.c.keys())
    rows = [[getattr(user, name) for name in names] for user in new]
    inserted = await tx.execute(_INSERT, columns_of("new", names, rows))
    # Every row of one statement gets the same now(), so any row's will do.
    time = rfc3339(inserted.scalars().all()[0])
    return [replace(user, created_at=time, updated_at=time) for user in new]


async def take_ids(tx: AsyncConnection, count: int) -> list[UserId]:
    """Ids for users about to be inserted."""
    return [UserId(number) for number in await current().ids.take(tx, user_ids, count)]


_CHANGED = rows_of(
    "changed",
    id=BigInteger(),
    name=Text(),
    headline=Text(),
    bio=Text(),
    hourly_rate=Numeric(12, 2),
    currency=Text(),
    country=Text(),
    version=Integer(),
)
_UPDATE = Changes(
    update(users)
    .values({column.name: column for column in _CHANGED.c if column.name != "id"})
    .values(updated_at=func.now())
    .where(users.c.id == _CHANGED.c.id)
    .returning(users.c.updated_at),
    _CHANGED,
)


async def update_users(tx: AsyncConnection, changed: Sequence[User]) -> str:
    """Store users that this transaction holds; returns when they were updated."""
    names = list(_CHANGED.c.keys())
    rows = [[getattr(user, name) for name in names] for user in changed]
    return rfc3339((await _UPDATE.store(tx, rows))[0].updated_at)


_WANTED = rows_of("wanted", user_id=BigInteger(), skill_id=BigInteger(), level=SmallInteger())
_INSERT_SKILLS = insert(user_skills).from_select(list(_WANTED.c.keys()), select(*_WANTED.c))
_DELETE_SKILLS = delete(user_skills).where(
    user_skills.c.user_id == func.any(array_of("ids", BigInteger()))
)


async def replace_skills(
    tx: AsyncConnection, wanted: Mapping[UserId, Sequence[SkillLevel]]
) -> None:
    """Take the users' skills away and give them others."""
    if not wanted:
        return
    await tx.execute(_DELETE_SKILLS, {"ids": list(wanted)})
    rows = [
        (user_id, skill.skill_id, skill.level)
        for user_id, skills in wanted.items()
        for skill in skills
    ]
    if rows:
        await tx.execute(_INSERT_SKILLS, columns_of("wanted", _WANTED.c.keys(), rows))


_DEACTIVATE = (
    update(users)
    .values(
        is_active=false(),
        deactivated_at=func.now(),
        updated_at=func.now(),
        version=users.c.version + 1,
    )
    .where(_AMONG, users.c.is_active == true())
    .returning(users.c.id, users.c.version)
)


async def deactivate_users(
    tx: AsyncConnection, ids: Collection[UserId]
) -> list[tuple[UserId, int]]:
    """Deactivate those of the users, held by this transaction, that are active.

    Returns them with the versions that they have now.
    """
    return _versions(await tx.execute(_DEACTIVATE, {"ids": list(ids)}))


_ROLE = bindparam("role", type_=Text())
_ASSIGN_ROLE = (
    update(users)
    .values(role=_ROLE, updated_at=func.now(), version=users.c.version + 1)
    .where(_AMONG, users.c.is_active == true(), users.c.role != _ROLE)
    .returning(users.c.id, users.c.version)
)


async def assign_role(
    tx: AsyncConnection, ids: Collection[UserId], role: Role
) -> list[tuple[UserId, int]]:
    """Give active users a role that they don't have yet.

    Returns those who got it, with the versions that they have now.
    """
    return _versions(await tx.execute(_ASSIGN_ROLE, {"ids": list(ids), "role": role}))


_ERASABLE = (
    select(users.c.id)
    .where(
        users.c.deactivated_at
        < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, bindparam("seconds", type_=Integer())),
        users.c.erased_at.is_(None),
    )
    .order_by(users.c.deactivated_at)
    .limit(bindparam("rows", type_=Integer()))
)
_LOCK_ERASABLE = Lock(
    select(users.c.id).where(users.c.erased_at.is_(None)), waits=False, id=users.c.id
)
_ERASE = (
    update(users)
    .values(
        email=null(),
        name=ERASED_NAME,
        headline="",
        bio="",
        hourly_rate=null(),
        country=null(),
        erased_at=func.now(),
        updated_at=func.now(),
        version=users.c.version + 1,
    )
    .where(_AMONG)
    .returning(users.c.id, users.c.version)
)


async def lock_erasable(tx: AsyncConnection, seconds: int, rows: int) -> list[UserId]:
    """Up to `rows` users who were deactivated over `seconds` ago and aren't erased yet."""
    found = await tx.execute(_ERASABLE, {"seconds": seconds, "rows": rows})
    held = await _LOCK_ERASABLE.hold(tx, found.scalars())
    return [UserId(row.id) for row in held]


async def erase_users(tx: AsyncConnection, ids: Sequence[UserId]) -> list[tuple[UserId, int]]:
    """Empty users that this transaction holds of all that is personal.

    Returns them with the versions that they have now.
    """
    await tx.execute(_DELETE_SKILLS, {"ids": ids})
    return _versions(await tx.execute(_ERASE, {"ids": ids}))


def _versions(stored: Result[int, int]) -> list[tuple[UserId, int]]:
    return sorted((UserId(id), version) for id, version in stored)


def _own_skill(skill_id: ColumnElement[int]) -> Select[Any]:
    return (
        select(user_skills.c.user_id)
        .where(user_skills.c.user_id == users.c.id, user_skills.c.skill_id == skill_id)
        .correlate_except(user_skills)
    )


def _has_skill(skill_id: ColumnElement[int]) -> ColumnElement[bool]:
    return _own_skill(skill_id).exists()


def _is_seen_to_have(skill_id: ColumnElement[int]) -> ColumnElement[bool]:
    # Of EXISTS the planner might make a hash of all users with the skill.
    return _own_skill(skill_id).scalar_subquery().is_not(None)


def _matches(words: ColumnElement[str]) -> ColumnElement[bool]:
    return users.c.search.bool_op("@@")(func.websearch_to_tsquery("english", words))


_created = SortKey(lambda _: users.c.created_at, DateTime(timezone=True), datetime)

_BY_ANYTHING = frozenset({"created_at", "-created_at", "name", "-hourly_rate"})
_FILTERS = {
    "active": Filter(None, lambda _: users.c.is_active == true(), hides=True),
    "country": Filter.of(users.c.country, leads=_BY_ANYTHING),
    "role": Filter.of(users.c.role, leads=_BY_ANYTHING),
    "skill": Filter(BigInteger(), _has_skill, judges=_is_seen_to_have),
    "q": Filter(Text(), _matches),
}
_SORTS = {
    "created_at": _created,
    "-created_at": replace(_created, descending=True),
    "name": SortKey(lambda _: users.c.name, Text(), str),
    # As the index has it: a row comparison finds no NULL, and nobody works for 0.
    "-hourly_rate": SortKey(
        lambda _: func.coalesce(users.c.hourly_rate, literal_column("0")),
        Numeric(12, 2),
        Decimal,
        descending=True,
    ),
}

_FACETS = {
    "role": Facet(users.c.role, chosen_by="role"),
    "country": Facet(users.c.country, chosen_by="country"),
    "skill": Facet(user_skills.c.skill_id, owner=user_skills.c.user_id),
}

select_user_pages = PageQuery(
    "select_user_pages",
    _projection,
    key=users.c.id,
    filters=_FILTERS,
    sorts=_SORTS,
    facets=_FACETS,
)
select_public_pages = PageQuery(
    "select_public_pages",
    _public,
    key=users.c.id,
    filters=_FILTERS,
    sorts=_SORTS,
    facets=_FACETS,
)
