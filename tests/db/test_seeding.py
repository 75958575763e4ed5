"""A seeded marketplace is believable, repeatable, and consistent; a real database is left alone."""

import asyncio
from io import BytesIO
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from mercenary import settings
from mercenary.auth.passwords import hasher_of
from mercenary.auth.schemas import Password
from mercenary.seeding.binary import HEADER, TRAILER, numeric
from mercenary.seeding.demo import DEMO_ACCOUNTS
from mercenary.seeding.fields import SKILLS
from mercenary.seeding.load import TABLES, Loader, SeedError
from mercenary.seeding.marketplace import Marketplace
from mercenary.seeding.population import Population
from mercenary.seeding.seed import NO_PASSWORD, PASSWORD, seed
from mercenary.seeding.slices import made_slices, users_of
from mercenary.settings import Settings
from tests.db.conftest import NewDatabase, connected
from tests.db.test_migrations import CATALOG

PROJECTS = 1_000
DEMO_PROJECTS = 6


@pytest.fixture(scope="module")
async def seeded_uri(database_uri: str) -> str:
    """A seeded database that tests only read."""
    await seed(database_uri, settings.get(), projects=PROJECTS, seed=1, with_demo=True)
    return database_uri


@pytest.fixture
def production() -> Settings:
    """Settings as in production."""
    return replace(settings.get(), environment="production", secret_key="s" * 32)


async def _value(uri: str, query: str, *arguments: Any) -> Any:
    async with connected(uri) as connection:
        return await connection.fetchval(query, *arguments)


async def _checksums(uri: str) -> dict[str, str]:
    async with connected(uri) as connection:
        return {
            table: await connection.fetchval(
                f"SELECT md5(string_agg(t::text, ';' ORDER BY t::text)) FROM {table} AS t"
            )
            for table in TABLES
        }


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("skills", len(SKILLS)),
        ("users", 50 + len(DEMO_ACCOUNTS)),
        ("credentials", 50 + len(DEMO_ACCOUNTS)),
        ("projects", PROJECTS + DEMO_PROJECTS),
    ],
)
async def test_the_scale_gives_the_number_of_rows(seeded_uri: str, table: str, rows: int) -> None:
    """Projects as asked for, a twentieth as many users but at least fifty, and the demo's."""
    assert await _value(seeded_uri, f"SELECT count(*) FROM {table}") == rows


async def test_there_are_four_proposals_a_project(seeded_uri: str) -> None:
    """Exactly, among the projects of the scale."""
    query = "SELECT count(*) FROM proposals WHERE project_id <= $1"
    assert await _value(seeded_uri, query, PROJECTS) == 4 * PROJECTS


async def test_every_state_occurs(seeded_uri: str) -> None:
    """Of projects and of proposals."""
    async with connected(seeded_uri) as connection:
        projects = await connection.fetch("SELECT DISTINCT status FROM projects")
        proposals = await connection.fetch("SELECT DISTINCT status FROM proposals")
    assert {row["status"] for row in projects} == {
        "draft", "open", "in_progress", "completed", "cancelled",
    }  # fmt: skip
    assert {row["status"] for row in proposals} == {
        "pending", "accepted", "rejected", "withdrawn",
    }  # fmt: skip


BROKEN = {
    "a project that is under way has one accepted proposal, others have none": """
        SELECT p.id FROM projects p LEFT JOIN proposals b ON b.project_id = p.id GROUP BY p.id
        HAVING count(*) FILTER (WHERE b.status = 'accepted')
            <> (p.status IN ('in_progress', 'completed'))::int
    """,
    "whoever wasn't hired was rejected": """
        SELECT b.id FROM proposals b JOIN projects p ON p.id = b.project_id
        WHERE p.status IN ('in_progress', 'completed') AND b.status NOT IN ('accepted', 'rejected')
    """,
    "nobody waits for a decision about a project that is over": """
        SELECT b.id FROM proposals b JOIN projects p ON p.id = b.project_id
        WHERE p.status <> 'open' AND b.status = 'pending'
    """,
    "nobody bids for a draft": """
        SELECT b.id FROM proposals b JOIN projects p ON p.id = b.project_id
        WHERE p.status = 'draft'
    """,
    "clients post": """
        SELECT p.id FROM projects p JOIN users u ON u.id = p.client_id WHERE u.role <> 'client'
    """,
    "freelancers bid": """
        SELECT b.id FROM proposals b JOIN users u ON u.id = b.freelancer_id
        WHERE u.role <> 'freelancer'
    """,
    "a bid is in the project's currency": """
        SELECT b.id FROM proposals b JOIN projects p ON p.id = b.project_id
        WHERE b.currency <> p.currency
    """,
    "a bid comes after its project and its freelancer": """
        SELECT b.id FROM proposals b JOIN projects p ON p.id = b.project_id
        JOIN users u ON u.id = b.freelancer_id
        WHERE b.created_at <= p.created_at OR b.created_at <= u.created_at
    """,
    "a project comes after its client": """
        SELECT p.id FROM projects p JOIN users u ON u.id = p.client_id
        WHERE p.created_at <= u.created_at
    """,
    "a hired project changed when or after it was decided": """
        SELECT p.id FROM projects p JOIN proposals b ON b.project_id = p.id
        WHERE p.status <> 'open' AND p.updated_at < b.updated_at
    """,
    "no project changed before it began": "SELECT id FROM projects WHERE updated_at < created_at",
    "no proposal changed before it began": "SELECT id FROM proposals WHERE updated_at < created_at",
    "no user changed before they joined": "SELECT id FROM users WHERE updated_at < created_at",
    "nothing happens in the future": "SELECT id FROM proposals WHERE updated_at > '2026-10-01Z'",
    "every project names skills, not too many": """
        SELECT p.id FROM projects p LEFT JOIN project_skills s ON s.project_id = p.id
        GROUP BY p.id HAVING count(s.skill_id) NOT BETWEEN 1 AND 20
    """,
    "every user can sign in by the own address": """
        SELECT u.id FROM users u LEFT JOIN credentials c ON c.user_id = u.id
        WHERE c.email IS DISTINCT FROM lower(u.email)
    """,
    "no gap of a sentence is left open": """
        SELECT id FROM projects WHERE title || description LIKE '%{%'
        UNION ALL SELECT id FROM proposals WHERE cover_letter LIKE '%{%'
        UNION ALL SELECT id FROM users WHERE headline || bio LIKE '%{%'
    """,
    "a thing that begins with a vowel gets an": r"""
        SELECT id FROM projects WHERE title || description ~ '\ma [aeio][a-z]+ '
        UNION ALL SELECT id FROM proposals WHERE cover_letter ~ '\ma [aeio][a-z]+ '
    """,
    "texts keep to the limits of the API": """
        SELECT id FROM projects
        WHERE length(title) NOT BETWEEN 3 AND 200 OR length(description) NOT BETWEEN 1 AND 20000
    """,
}


@pytest.mark.parametrize("rule", BROKEN)
async def test_no_row_breaks_the_rule(seeded_uri: str, rule: str) -> None:
    """Each query lists what would break it."""
    async with connected(seeded_uri) as connection:
        assert await connection.fetch(BROKEN[rule]) == []


@pytest.mark.parametrize(
    "column", ["projects.client_id", "proposals.project_id", "project_skills.skill_id"]
)
async def test_popularity_is_skewed(seeded_uri: str, column: str) -> None:
    """The most popular one has far more than the average."""
    table, name = column.split(".")
    query = f"""
        SELECT max(n) / avg(n) FROM (SELECT count(*) AS n FROM {table} GROUP BY {name}) AS counted
    """
    assert await _value(seeded_uri, query) >= 2.5


async def test_ids_go_on_behind_the_seeded_ones(seeded_uri: str) -> None:
    """The first row that somebody adds takes nobody's id."""
    async with connected(seeded_uri) as connection:
        for table, sequence in TABLES.items():
            if sequence:
                highest = await connection.fetchval(f"SELECT max(id) FROM {table}")
                following = await connection.fetchval(f"SELECT nextval('{sequence}')")
                assert highest < following


@pytest.mark.parametrize("kind", ["constraints", "indexes"])
async def test_all_that_was_taken_away_is_back(
    seeded_uri: str, migrated: asyncpg.Connection, kind: str
) -> None:
    """Indexes and constraints are those of a database that was never seeded."""
    async with connected(seeded_uri) as connection:
        seeded = sorted(map(repr, await connection.fetch(CATALOG[kind])))
    assert sorted(map(repr, await migrated.fetch(CATALOG[kind]))) == seeded


async def test_indexes_keep_their_comments(seeded_uri: str, migrated: asyncpg.Connection) -> None:
    """What an index serves is still said."""
    query = """
        SELECT relname, obj_description(oid, 'pg_class') FROM pg_class
        WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace ORDER BY relname
    """
    async with connected(seeded_uri) as connection:
        assert await connection.fetch(query) == await migrated.fetch(query)


async def test_the_same_seed_gives_the_same_rows(seeded_uri: str, migrated_uri: str) -> None:
    """Down to the last password hash."""
    await seed(migrated_uri, settings.get(), projects=PROJECTS, seed=1, with_demo=True)
    assert await _checksums(migrated_uri) == await _checksums(seeded_uri)


async def test_another_seed_gives_other_rows(seeded_uri: str, migrated_uri: str) -> None:
    """Of everything but the skills."""
    await seed(migrated_uri, settings.get(), projects=PROJECTS, seed=2, with_demo=True)
    first, second = await _checksums(seeded_uri), await _checksums(migrated_uri)
    assert {table for table in TABLES if first[table] == second[table]} == {"skills"}


async def test_it_has_caches_forget_everything(seeded_uri: str) -> None:
    """By one event in its own transaction, whatever the number of rows; statistics have theirs."""
    async with connected(seeded_uri) as connection:
        told = await connection.fetch("SELECT name, tags FROM outbox ORDER BY id")
    assert [tuple(row) for row in told] == [("cache.purged", "*"), ("stats.refreshed", "stats")]


async def test_a_database_with_rows_is_refused(seeded_uri: str) -> None:
    """And stays as it was."""
    before = await _checksums(seeded_uri)
    with pytest.raises(SeedError, match="not empty"):
        await seed(seeded_uri, settings.get(), projects=PROJECTS, seed=1, with_demo=True)
    assert await _checksums(seeded_uri) == before


async def test_a_schema_that_is_missing_is_named(empty_uri: str) -> None:
    """Nobody is left with PostgreSQL's words about relations."""
    with pytest.raises(SeedError, match="mercenary migrate"):
        await seed(empty_uri, settings.get(), projects=PROJECTS, seed=1, with_demo=True)


async def test_a_database_in_use_is_refused(migrated_uri: str, monkeypatch: Any) -> None:
    """Seeding waits a bounded time for the tables."""
    monkeypatch.setattr("mercenary.seeding.load.LOCK_SECONDS", 0.05)
    async with connected(migrated_uri) as other, other.transaction():
        await other.execute("LOCK TABLE projects IN ROW EXCLUSIVE MODE")
        with pytest.raises(SeedError, match="somebody else"):
            await seed(migrated_uri, settings.get(), projects=PROJECTS, seed=1, with_demo=True)


async def test_a_seeding_that_dies_leaves_an_empty_complete_database(
    migrated_uri: str, new_database: NewDatabase, template: str
) -> None:
    """The next one finds what the first one found."""

    async def die_half_way() -> None:
        async with Loader(migrated_uri) as loader:
            await loader.copy("skills", ("id", "name"), [(1, "Tightrope walking")])
            raise RuntimeError("power failure")

    with pytest.raises(RuntimeError, match="power"):
        await die_half_way()
    pristine = await new_database(template)
    async with connected(migrated_uri) as died, connected(pristine) as other:
        for kind in ("constraints", "indexes"):
            assert await died.fetch(CATALOG[kind]) == await other.fetch(CATALOG[kind])
    done = await seed(migrated_uri, settings.get(), projects=PROJECTS, seed=1, with_demo=False)
    assert done.projects == PROJECTS


async def test_a_role_that_owns_nothing_can_seed(migrated_uri: str) -> None:
    """It may not take indexes away, so it loads more slowly, and the same."""
    async with connected(migrated_uri) as owner:
        await owner.execute("DROP ROLE IF EXISTS mercenary_loader")
        await owner.execute("CREATE ROLE mercenary_loader LOGIN")
        await owner.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO mercenary_loader")
        await owner.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO mercenary_loader")
        user = await owner.fetchval("SELECT current_user")
    uri = migrated_uri.replace(f"{user}@", "mercenary_loader@", 1)
    done = await seed(uri, settings.get(), projects=PROJECTS, seed=1, with_demo=False)
    assert done.projects == await _value(migrated_uri, "SELECT count(*) FROM projects")
    async with connected(migrated_uri) as owner:
        await owner.execute("DROP OWNED BY mercenary_loader; DROP ROLE mercenary_loader")


async def test_in_production_nobody_gets_a_known_password(
    migrated_uri: str, production: Settings
) -> None:
    """Data for a load test is allowed, accounts to sign in to are not."""
    with pytest.raises(SeedError, match="--no-demo"):
        await seed(migrated_uri, production, projects=PROJECTS, seed=1, with_demo=True)
    await seed(migrated_uri, production, projects=PROJECTS, seed=1, with_demo=False)
    query = "SELECT count(*) FROM credentials WHERE password_hash <> $1"
    assert await _value(migrated_uri, query, NO_PASSWORD) == 0


async def test_demo_accounts_can_sign_in(seeded_uri: str) -> None:
    """With the passwords that `mercenary up` prints, which the API would accept, too."""
    hasher = hasher_of(settings.get())
    query = "SELECT password_hash FROM credentials WHERE email = $1"
    for account in DEMO_ACCOUNTS:
        stored = await _value(seeded_uri, query, account.email)
        assert await asyncio.to_thread(hasher.verify, stored, Password.parse(account.password))
    others = await _value(seeded_uri, "SELECT password_hash FROM credentials WHERE user_id = 2")
    assert await asyncio.to_thread(hasher.verify, others, Password.parse(PASSWORD))


async def test_the_demo_client_and_freelancer_have_something_to_show(seeded_uri: str) -> None:
    """Projects in several states, bids, skills."""
    by_email = "(SELECT id FROM users WHERE email = $1)"
    client, freelancer = DEMO_ACCOUNTS[1].email, DEMO_ACCOUNTS[2].email
    states = f"SELECT count(DISTINCT status) FROM projects WHERE client_id = {by_email}"
    bids = f"SELECT count(DISTINCT status) FROM proposals WHERE freelancer_id = {by_email}"
    skills = f"SELECT count(*) FROM user_skills WHERE user_id = {by_email}"
    assert await _value(seeded_uri, states, client) == 5
    assert await _value(seeded_uri, bids, freelancer) == 3
    assert await _value(seeded_uri, skills, freelancer) == 4


async def test_makers_in_other_processes_make_the_same_slices() -> None:
    """In order, also when the last one is not full."""
    marketplace = Marketplace(2_500, Population(users_of(2_500), 7))
    async with made_slices(2_500, 7) as slices:
        made = [each async for each in slices]
    assert made == [marketplace.slice(number) for number in range(3)]


async def test_makers_end_with_whoever_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left behind by a seeding that stops half way."""
    makers = []
    start = asyncio.create_subprocess_exec

    async def record(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        makers.append(await start(*arguments, **options))
        return makers[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", record)
    async with made_slices(100_000, 1) as slices:
        await anext(slices)
        assert [maker.returncode for maker in makers] == [None] * len(makers)
    assert makers
    assert None not in [maker.returncode for maker in makers]


@pytest.mark.parametrize("money", [1, 9_999, 10_000, 12_345, 26_000_000, 100_000_000])
async def test_packed_money_is_what_postgresql_reads(
    migrated: asyncpg.Connection, money: int
) -> None:
    """Digits to the base of ten thousand, zeros among them."""
    await migrated.execute("CREATE TEMP TABLE purse (coins numeric(12,2))")
    rows = HEADER + b"\0\1" + numeric(money) + TRAILER
    await migrated.copy_to_table("purse", source=BytesIO(rows), format="binary")
    assert await migrated.fetchval("SELECT coins FROM purse") == money


@pytest.mark.parametrize("users", [50, 5_000])
def test_all_roles_are_there_at_every_scale(users: int) -> None:
    """And half of the freelancers from the beginning."""
    population = Population(users, 1)
    assert {person.role for person in population.people} == {"admin", "client", "freelancer"}
    assert population.founders >= len(population.freelancers) // 3
    assert [person.id for person in population.people] == list(range(1, users + 1))


async def test_somebody_elses_table_that_hangs_on_ours_keeps_its_rows(migrated_uri: str) -> None:
    async with connected(migrated_uri) as connection:
        await connection.execute("CREATE TABLE theirs (user_id bigint REFERENCES users(id))")
        await connection.execute("INSERT INTO theirs VALUES (NULL), (NULL)")
    await seed(migrated_uri, settings.get(), projects=100, seed=1, with_demo=False)
    assert await _value(migrated_uri, "SELECT count(*) FROM theirs") == 2
    assert await _value(migrated_uri, "SELECT count(*) FROM projects") == 100
