"""What `mercenary bench db` has done by each contender: four kinds of work, the same for all.

- `select-simple`: three fields of a project by its id, with those that its rules need.
- `select-complex`: a page of 20 open projects with their skills, by budget, behind a random place.
- `insert`: a session, the plainest row that the product stores, committed.
- `update`: a user's profile, with the words by which it is found, committed.

Ids are drawn alike, not by a Zipf law: equal asks that wait together travel as one, which would
flatter the product. An insert is a row through the product's own `insert_sessions` in a write
batch, an update one through `update_users`; pgbench sends one row a transaction.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Dialect,
    ForeignKey,
    bindparam,
    func,
    insert,
    schema,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column, selectinload

from mercenary.auth import queries as auth
from mercenary.auth.tables import session_ids, sessions
from mercenary.bench.plain_fastapi import Base, ProjectRow, UserRow
from mercenary.db.batches import write_batch
from mercenary.db.page_statements import Filters
from mercenary.db.pages import End, PageAsk
from mercenary.http.access import SessionId, UserId
from mercenary.projects.schemas import ProjectId
from mercenary.projects.service import find_project, project_list
from mercenary.projects.tables import projects
from mercenary.users import queries as users
from mercenary.users import tables
from mercenary.users.schemas import User

Operation = Callable[[], Awaitable[object]]

PAGE: Final = 20
SECONDS: Final = 2_592_000
_FIELDS: Final = ("title", "budget", "currency")
_FILTERS: Final[Filters] = (("published", None), ("status", "open"))
_LEAST_BUDGET: Final = 100
_MOST_BUDGET: Final = 5_000
_NAME: Final = "Ada Example"
_HEADLINE: Final = "Databases that explain themselves"
_BIO: Final = "Ten years of PostgreSQL, from schemas to replicas and back."


class Extent(NamedTuple):
    """The highest ids that are there."""

    projects: int
    users: int


async def extent_of(db: AsyncConnection) -> Extent:
    """The highest ids in a seeded database, which has no gaps below them."""
    highest = text("SELECT (SELECT max(id) FROM projects), (SELECT max(id) FROM users)")
    return Extent(*(await db.execute(highest)).one())


class _SessionRow(Base):
    """A signed-in device, for the ORM."""

    __tablename__ = "sessions"
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    # A sequence given to a column is its column's: the product's own has to stay free of one.
    id: Mapped[int] = mapped_column(BigInteger, schema.Sequence(session_ids.name), primary_key=True)
    expires_at: Mapped[Any] = mapped_column(sessions.c.expires_at.type)


async def _open_sessions(tx: AsyncConnection, asks: Sequence[UserId]) -> Sequence[SessionId]:
    return await auth.insert_sessions(tx, asks, SECONDS)


async def _store_users(tx: AsyncConnection, asks: Sequence[User]) -> Sequence[str]:
    return [await users.update_users(tx, asks)] * len(asks)


add_session = write_batch(_open_sessions)
store_user = write_batch(_store_users, order=lambda user: user.id)


def ours(extent: Extent, source: Random) -> Mapping[str, Operation]:
    """Through the product's own query functions and batches."""
    return {
        "select-simple": lambda: find_project(
            (ProjectId(_drawn(source, extent.projects)), _FIELDS)
        ),
        "select-complex": lambda: project_list.page(_page(extent, source)),
        "insert": lambda: add_session(UserId(_drawn(source, extent.users))),
        "update": lambda: store_user(_profile(_drawn(source, extent.users))),
    }


_ASKED_ID: Final = bindparam("asked_id", type_=BigInteger())
_READ: Final = select(
    *(projects.c[name] for name in ("id", "client_id", *_FIELDS, "status", "version"))
).where(projects.c.id == _ASKED_ID)
_ADD: Final = insert(sessions).values(
    user_id=_ASKED_ID,
    id=session_ids.next_value(),
    expires_at=func.now() + timedelta(seconds=SECONDS),
)
_PROFILE: Final = ("name", "headline", "bio", "hourly_rate", "currency", "country", "version")
_CHANGE: Final = (
    update(tables.users)
    .where(tables.users.c.id == _ASKED_ID)
    .values({name: bindparam(f"new_{name}") for name in _PROFILE})
    .values(updated_at=func.now())
)


def by_core(engine: AsyncEngine, extent: Extent, source: Random) -> Mapping[str, Operation]:
    """SQLAlchemy Core one by one: a connection, a transaction and a statement for each ask.

    Its statements are composed once, as the product's are: composing one for each ask took a
    quarter of the time of `select-simple`.
    """

    async def read() -> object:
        async with engine.connect() as db:
            found = await db.execute(_READ, {"asked_id": _drawn(source, extent.projects)})
            return found.one_or_none()

    async def list_page() -> object:
        statement, parameters = project_list.query.statement(_page(extent, source))
        async with engine.connect() as db:
            return (await db.execute(statement, parameters)).all()

    async def add() -> object:
        async with engine.begin() as tx:
            return await tx.execute(_ADD, {"asked_id": _drawn(source, extent.users)})

    async def change() -> object:
        profile = _profile(_drawn(source, extent.users))
        new = {f"new_{name}": getattr(profile, name) for name in _PROFILE}
        async with engine.begin() as tx:
            return await tx.execute(_CHANGE, {"asked_id": profile.id} | new)

    return {"select-simple": read, "select-complex": list_page, "insert": add, "update": change}


def by_orm(engine: AsyncEngine, extent: Extent, source: Random) -> Mapping[str, Operation]:
    """SQLAlchemy's ORM as people write it: a session for each ask."""
    opened = async_sessionmaker(engine, expire_on_commit=False)
    place = tuple_(ProjectRow.budget, ProjectRow.id)

    async def read() -> object:
        async with opened() as session:
            return await session.get(ProjectRow, _drawn(source, extent.projects))

    async def list_page() -> object:
        after = _end(extent, source)
        page = (
            select(ProjectRow)
            .where(ProjectRow.status == "open", place > (after.value, after.id))
            .options(selectinload(ProjectRow.skills))
            .order_by(ProjectRow.budget, ProjectRow.id)
            .limit(PAGE + 1)
        )
        async with opened() as session:
            return (await session.scalars(page)).all()

    async def add() -> object:
        async with opened() as session:
            expiry = func.now() + timedelta(seconds=SECONDS)
            row = _SessionRow(user_id=_drawn(source, extent.users), expires_at=expiry)
            session.add(row)
            await session.commit()
            return row

    async def change() -> object:
        profile = _profile(_drawn(source, extent.users))
        async with opened() as session:
            row = await session.get_one(UserRow, profile.id, with_for_update=True)
            row.name, row.headline, row.bio = profile.name, profile.headline, profile.bio
            row.version += 1
            await session.commit()
            return row

    return {"select-simple": read, "select-complex": list_page, "insert": add, "update": change}


def scripts(extent: Extent) -> Mapping[str, str]:
    """For pgbench: the page is the product's own statement for one, the others plain ones."""
    project = f"\\set id random(1, {extent.projects})\n"
    user = f"\\set id random(1, {extent.users})\n"
    budget = f"\\set budget random({_LEAST_BUDGET}, {_MOST_BUDGET})\n"
    one = "SELECT id, client_id, title, budget, currency, status, version FROM projects"
    values = f"(:id, nextval('sessions_id_seq'), now() + make_interval(secs => {SECONDS}))"
    profile = (
        f"name = '{_NAME}', headline = '{_HEADLINE}', bio = '{_BIO}', hourly_rate = 80.00, "
        "currency = 'USD', country = 'DE', version = 2, updated_at = now()"
    )
    added = "INSERT INTO sessions (user_id, id, expires_at) VALUES"
    return {
        "select-simple": f"{project}{one} WHERE id = :id;\n",
        "select-complex": f"{project}{budget}{_page_text(extent)};\n",
        "insert": f"{user}{added} {values};\n",
        "update": f"{user}UPDATE users SET {profile} WHERE id = :id RETURNING updated_at;\n",  # noqa: S608
    }


def _page_text(extent: Extent) -> str:
    """The product's statement with pgbench's variables where its parameters are."""
    statement, parameters = project_list.query.statement(_page(extent, Random(0)))  # noqa: S311
    dialect: Dialect = asyncpg.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    script = str(statement.compile(dialect=dialect))
    drawn = {"asked_after_value": ":budget", "asked_after_id": ":id"}
    for name, values in parameters.items():
        value = drawn.get(name) or repr(values[0])
        script = script.replace(f":{name}::", f"ARRAY[{value}]::")
    return script


def _page(extent: Extent, source: Random) -> PageAsk:
    return PageAsk(_FILTERS, "budget", _end(extent, source), PAGE)


def _end(extent: Extent, source: Random) -> End:
    budget = _LEAST_BUDGET + _drawn(source, _MOST_BUDGET - _LEAST_BUDGET)
    return End(Decimal(budget), _drawn(source, extent.projects))


def _profile(id: int) -> User:
    return User(
        id=UserId(id),
        name=_NAME,
        role="freelancer",
        headline=_HEADLINE,
        bio=_BIO,
        skills=[],
        hourly_rate=Decimal("80.00"),
        currency="USD",
        country="DE",
        created_at="",
        updated_at="",
        version=2,
        email=None,
        is_active=None,
    )


def _drawn(source: Random, highest: int) -> int:
    # A sixth of what `randint` takes, which would be a tenth of an operation.
    return 1 + int(source.random() * highest)
