"""The yardstick of habit: the same endpoints as a good developer would usually write them.

FastAPI, pydantic models, SQLAlchemy's ORM on asyncpg with a session for each request, a JWT bearer
whose user is looked up. It reads and writes the product's own tables. Kept honest: explicit eager
loading, no needless query, pydantic's own serialization. Its pool has as many connections as the
guide's at most (20 and 10 more), but keeps them all: SQLAlchemy closes those past `pool_size` when
they come back, and under 64 callers making them anew cost five sixths of its throughput.

PLAIN_DATABASE_URI names the database, PLAIN_SECRET the key of its tokens.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

import jwt
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import BigInteger, DateTime, ForeignKey, Sequence, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from mercenary.db.uri import asyncpg_url

DATABASE: Final = "PLAIN_DATABASE_URI"
SECRET: Final = "PLAIN_SECRET"  # noqa: S105 - a variable's name
ALGORITHM: Final = "HS256"
_PAGE: Final = 20
_ABOVE_ALL: Final = 2**62


class Base(DeclarativeBase):
    """The ORM's registry of tables."""

    type_annotation_map = {int: BigInteger, datetime: DateTime(timezone=True)}  # noqa: RUF012


class UserSkillRow(Base):
    """What a user can do."""

    __tablename__ = "user_skills"
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    skill_id: Mapped[int] = mapped_column(ForeignKey("skills.id"), primary_key=True)
    level: Mapped[int]


class SkillRow(Base):
    """Something people can do."""

    __tablename__ = "skills"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class UserRow(Base):
    """A person."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    version: Mapped[int] = mapped_column(default=1)
    is_active: Mapped[bool]
    role: Mapped[str]
    email: Mapped[str]
    name: Mapped[str]
    country: Mapped[str | None]
    currency: Mapped[str]
    hourly_rate: Mapped[Decimal | None]
    headline: Mapped[str]
    bio: Mapped[str]
    skills: Mapped[list[UserSkillRow]] = relationship(order_by=UserSkillRow.skill_id)


class ProjectSkillRow(Base):
    """A skill that a project needs."""

    __tablename__ = "project_skills"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    skill_id: Mapped[int] = mapped_column(ForeignKey("skills.id"), primary_key=True)


class ProjectRow(Base):
    """Work that a client wants done."""

    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(Sequence("projects_id_seq"), primary_key=True)
    client_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    version: Mapped[int] = mapped_column(default=1)
    status: Mapped[str]
    currency: Mapped[str]
    budget: Mapped[Decimal]
    title: Mapped[str]
    description: Mapped[str]
    proposal_count: Mapped[int] = mapped_column(default=0)
    lowest_bid: Mapped[Decimal | None]
    client_name: Mapped[str]
    skills: Mapped[list[ProjectSkillRow]] = relationship(order_by=ProjectSkillRow.skill_id)

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012

    @property
    def skill_ids(self) -> list[int]:
        """The skills' ids alone."""
        return [skill.skill_id for skill in self.skills]


class Out(BaseModel):
    """The base of what is answered, read from rows."""

    model_config = ConfigDict(from_attributes=True)


class SkillLevelOut(Out):
    """A skill and how well."""

    skill_id: int
    level: int


class UserOut(Out):
    """A public profile."""

    id: int
    name: str
    role: str
    headline: str
    bio: str
    skills: list[SkillLevelOut]
    hourly_rate: Decimal | None
    currency: str
    country: str | None
    created_at: datetime
    updated_at: datetime
    version: int


class ProjectOut(Out):
    """A project."""

    id: int
    client_id: int
    client_name: str
    title: str
    description: str
    budget: Decimal
    currency: str
    status: str
    skill_ids: list[int]
    proposal_count: int
    lowest_bid: Decimal | None
    created_at: datetime
    updated_at: datetime
    version: int


class UserPage(BaseModel):
    """A page of profiles; `next_cursor` is the id to go on below."""

    items: list[UserOut]
    next_cursor: int | None


class ProjectPage(BaseModel):
    """A page of projects; `next_cursor` is the id to go on below."""

    items: list[ProjectOut]
    next_cursor: int | None


class ProjectIn(BaseModel):
    """A new project."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(min_length=3, max_length=200)
    description: str = Field(min_length=1, max_length=20_000)
    budget: Decimal = Field(gt=0, max_digits=12, decimal_places=2)
    currency: str = Field(pattern="^[A-Z]{3}$")
    status: Literal["draft", "open"] = "draft"
    skill_ids: list[int] = Field(default=[], max_length=20)


class ProjectChange(BaseModel):
    """What is to change about a project."""

    description: str = Field(min_length=1, max_length=20_000)


class ProfileChange(BaseModel):
    """What is to change about one's own profile."""

    headline: str = Field(max_length=160)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine = create_async_engine(
        asyncpg_url(os.environ[DATABASE]),
        pool_size=30,
        max_overflow=0,
        pool_timeout=30,
        pool_recycle=1800,
    )
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    yield
    await engine.dispose()


app = FastAPI(lifespan=_lifespan)
_bearer = HTTPBearer()


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(_session)]
Credentials = Annotated[HTTPAuthorizationCredentials, Depends(_bearer)]


async def _caller(session: Session, credentials: Credentials) -> UserRow:
    try:
        claims = jwt.decode(credentials.credentials, os.environ[SECRET], algorithms=[ALGORITHM])
    except jwt.InvalidTokenError:
        raise HTTPException(401, "The token isn't valid") from None
    user = await session.get(UserRow, int(claims["sub"]))
    if user is None or not user.is_active:
        raise HTTPException(401, "Nobody active has this token")
    return user


SignedIn = Annotated[UserRow, Depends(_caller)]


@app.get("/api/v1/users", dependencies=[Depends(_caller)])
async def list_users(session: Session, limit: int = _PAGE) -> UserPage:
    """The newest profiles."""
    newest = (
        select(UserRow)
        .where(UserRow.is_active)
        .options(selectinload(UserRow.skills))
        .order_by(UserRow.created_at.desc(), UserRow.id.desc())
        .limit(limit + 1)
    )
    users = (await session.scalars(newest)).all()
    page = [UserOut.model_validate(user) for user in users[:limit]]
    return UserPage(items=page, next_cursor=page[-1].id if len(users) > limit else None)


@app.patch("/api/v1/users/me")
async def change_me(session: Session, caller: SignedIn, body: ProfileChange) -> UserOut:
    """Change one's own profile."""
    caller.headline = body.headline
    caller.version += 1
    await session.commit()
    await session.refresh(caller, ["skills", "updated_at"])
    return UserOut.model_validate(caller)


@app.get("/api/v1/projects", dependencies=[Depends(_caller)])
async def list_projects(
    session: Session, cursor: int = _ABOVE_ALL, limit: int = _PAGE
) -> ProjectPage:
    """The newest projects below an id."""
    newest = (
        select(ProjectRow)
        .where(ProjectRow.status != "draft", ProjectRow.id < cursor)
        .options(selectinload(ProjectRow.skills))
        .order_by(ProjectRow.id.desc())
        .limit(limit + 1)
    )
    projects = (await session.scalars(newest)).all()
    page = [ProjectOut.model_validate(project) for project in projects[:limit]]
    return ProjectPage(items=page, next_cursor=page[-1].id if len(projects) > limit else None)


@app.get("/api/v1/projects/{id}")
async def show_project(session: Session, caller: SignedIn, id: int) -> ProjectOut:
    """A project; a draft for its owner and admins only."""
    return ProjectOut.model_validate(await _visible(session, caller, id))


@app.patch("/api/v1/projects/{id}")
async def change_project(
    session: Session, caller: SignedIn, id: int, body: ProjectChange
) -> ProjectOut:
    """Change a project of one's own, or any as an admin."""
    project = await _visible(session, caller, id, lock=True)
    if caller.role != "admin" and project.client_id != caller.id:
        raise HTTPException(403, "Only the project's owner may change it")
    project.description = body.description
    project.version += 1
    await session.commit()
    await session.refresh(project, ["updated_at"])
    return ProjectOut.model_validate(project)


@app.post("/api/v1/projects", status_code=201)
async def create_project(
    session: Session, caller: SignedIn, body: ProjectIn, response: Response
) -> ProjectOut:
    """Post a project."""
    if caller.role != "client":
        raise HTTPException(403, "Only clients post projects")
    wanted = sorted(set(body.skill_ids))
    known = await session.scalars(select(SkillRow.id).where(SkillRow.id.in_(wanted)))
    if len(known.all()) < len(wanted):
        raise HTTPException(422, "There is no skill of such an id")
    project = ProjectRow(
        client_id=caller.id,
        client_name=caller.name,
        skills=[ProjectSkillRow(skill_id=skill_id) for skill_id in wanted],
        **body.model_dump(exclude={"skill_ids"}),
    )
    session.add(project)
    await session.commit()
    response.headers["Location"] = f"/api/v1/projects/{project.id}"
    return ProjectOut.model_validate(project)


async def _visible(
    session: AsyncSession, caller: UserRow, id: int, *, lock: bool = False
) -> ProjectRow:
    statement = select(ProjectRow).where(ProjectRow.id == id)
    statement = statement.options(selectinload(ProjectRow.skills))
    if lock:
        statement = statement.with_for_update()
    project = (await session.scalars(statement)).one_or_none()
    hidden = project is None or (
        project.status == "draft" and caller.role != "admin" and project.client_id != caller.id
    )
    if project is None or hidden:
        raise HTTPException(404, "There is no such project")
    return project


def mint(user_id: int, secret: str, seconds: int, number: int) -> str:
    """A token for this application, good for so many seconds; `number` tells it from others."""
    claims = {"sub": str(user_id), "exp": int(time.time()) + seconds, "jti": str(number)}
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def create_app() -> FastAPI:
    """The application, as the server asks for it."""
    return app
