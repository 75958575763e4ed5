"""Seeds an empty database: makes the rows slice by slice while PostgreSQL stores the last ones."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from argon2 import PasswordHasher

from mercenary.auth.passwords import hasher_of
from mercenary.db.engine import Database
from mercenary.db.migrate import pending
from mercenary.errors import ProblemError
from mercenary.seeding import demo
from mercenary.seeding.load import Loader, SeedError
from mercenary.seeding.marketplace import (
    PROJECT_COLUMNS,
    PROPOSAL_COLUMNS,
    PROPOSALS_PER_PROJECT,
    Slice,
)
from mercenary.seeding.population import USER_COLUMNS, Population, Row
from mercenary.seeding.slices import made_slices, users_of
from mercenary.settings import Settings
from mercenary.stats import service as statistics

SCALES: Final = {
    "1k": 1_000,
    "10k": 10_000,
    "100k": 100_000,
    "1M": 1_000_000,
    "10M": 10_000_000,
}
# Of every seeded account that isn't a demo account, in development.
PASSWORD: Final = "everybody-here-has-this-one"  # noqa: S105
# Of every seeded account in production: no password has it, so nobody can sign in.
NO_PASSWORD: Final = ""
SKILL_COLUMNS: Final = ("id", "created_at", "updated_at", "name")
USER_SKILL_COLUMNS: Final = ("user_id", "skill_id", "level")
PROJECT_SKILL_COLUMNS: Final = ("project_id", "skill_id")
CREDENTIAL_COLUMNS: Final = ("email", "user_id", "updated_at", "password_hash")
_EMAIL, _UPDATED = USER_COLUMNS.index("email"), USER_COLUMNS.index("updated_at")


@dataclass(frozen=True)
class Seeded:
    """How many rows were stored."""

    users: int
    projects: int
    proposals: int


async def seed(
    uri: str, settings: Settings, *, projects: int, seed: int, with_demo: bool
) -> Seeded:
    """Fill an empty database with `projects` projects, a twentieth as many users, and the rest.

    Raises:
        SeedError: the schema isn't current, the database isn't empty or is in use, or demo
            accounts are asked for in production; or all is stored, but for the statistics.
        MigrationError: the database can't be reached.
    """
    production = settings.environment == "production"
    if production and with_demo:
        raise SeedError(
            "demo accounts have passwords that everybody knows, so production gets none; "
            "call with --no-demo"
        )
    if await pending(uri):
        raise SeedError("the database's schema is not current; run `mercenary migrate` first")
    population = Population(users_of(projects), seed)
    users = list(population.user_rows())
    if with_demo:
        users += demo.profile_rows(len(population.people) + 1)
    posted, bids = projects, PROPOSALS_PER_PROJECT * projects
    async with Loader(uri) as loader, made_slices(projects, seed) as slices:
        await loader.copy("skills", SKILL_COLUMNS, population.skill_rows())
        await loader.copy("users", USER_COLUMNS, users)
        credentials = _credential_rows(settings, users, production=production)
        await loader.copy("credentials", CREDENTIAL_COLUMNS, credentials)
        await loader.copy("user_skills", USER_SKILL_COLUMNS, population.user_skill_rows())
        async for made in slices:
            await _store_slice(loader, made)
        if with_demo:
            more_posted, more_bids = await _store_demo(loader, projects, population)
            posted, bids = posted + more_posted, bids + more_bids
    if loader.owns:  # anybody else may not; the relay's role will
        await _refresh_statistics(uri, settings)
    return Seeded(len(users), posted, bids)


async def _refresh_statistics(uri: str, settings: Settings) -> None:
    database = Database(settings, uri)
    try:
        await statistics.refresh(database)
    except ProblemError as problem:
        raise SeedError(
            f"all is stored, but the statistics couldn't be refreshed ({problem.detail}); "
            "the relay will do it"
        ) from problem
    finally:
        await database.close()


async def _store_slice(loader: Loader, made: Slice) -> None:
    await loader.copy_packed("projects", PROJECT_COLUMNS, made.projects)
    await loader.copy_packed("project_skills", PROJECT_SKILL_COLUMNS, made.project_skills)
    await loader.copy_packed("proposals", PROPOSAL_COLUMNS, made.proposals)


async def _store_demo(loader: Loader, projects: int, population: Population) -> tuple[int, int]:
    """The demo accounts' doings, behind everybody else's; how many projects and proposals."""
    first_id, first_user_id = projects + 1, len(population.people) + 1
    await loader.copy("user_skills", USER_SKILL_COLUMNS, demo.user_skill_rows(first_user_id))
    posted = demo.project_rows(first_id, first_user_id)
    await loader.copy("projects", PROJECT_COLUMNS, posted)
    await loader.copy("project_skills", PROJECT_SKILL_COLUMNS, demo.project_skill_rows(first_id))
    bids = demo.proposal_rows(
        PROPOSALS_PER_PROJECT * projects + 1, first_id, first_user_id, population.freelancers
    )
    await loader.copy("proposals", PROPOSAL_COLUMNS, bids)
    return len(posted), len(bids)


def _credential_rows(
    settings: Settings, users: Iterable[Row], *, production: bool
) -> Iterator[Row]:
    hasher = hasher_of(settings)
    hashes = {each.email: _hash(hasher, each.password) for each in demo.DEMO_ACCOUNTS}
    shared = NO_PASSWORD if production else _hash(hasher, PASSWORD)
    for row in users:
        email = row[_EMAIL]
        yield email.lower(), row[0], row[_UPDATED], hashes.get(email, shared)


def _hash(hasher: PasswordHasher, password: str) -> str:
    # The salt is no secret's; with a fixed one the same seed stores the same rows.
    return hasher.hash(password, salt=b"mercenary demo 1")
