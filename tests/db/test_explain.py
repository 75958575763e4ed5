"""`mercenary db explain`: real plans of real statements, and nothing left behind."""

import asyncio
import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import make_url
from sqlalchemy.exc import IntegrityError

from mercenary import settings
from mercenary.catalogue import QUERIES
from mercenary.cli import main
from mercenary.cli.db.explain import UNPLANNED
from mercenary.db.examples import examples
from mercenary.db.plans import explain, foresee
from mercenary.db.sending import sent
from mercenary.local.valkey import EmbeddedValkey
from mercenary.seeding.seed import seed
from tests.db.conftest import connected
from tests.db.plans import planning


@pytest.fixture(scope="module")
async def uri(database_uri: str) -> str:
    """A small marketplace, and a table without an index."""
    await seed(database_uri, settings.get(), projects=1_000, seed=1, with_demo=True)
    async with connected(database_uri) as connection:
        await connection.execute("""
            CREATE TABLE bare (id bigint, kind text, amount int);
            INSERT INTO bare SELECT n, 'kind ' || n % 100, n FROM generate_series(1, 20000) n;
            ANALYZE bare;
        """)
    return database_uri


@pytest.fixture
def environment(uri: str, valkey: EmbeddedValkey) -> dict[str, str]:
    return {"SQLALCHEMY_DATABASE_URI": uri, "CACHE_CONFIG": valkey.cache_config}


async def call(environment: dict[str, str], *arguments: str) -> Result:
    """Call the command in a thread, for it runs a loop of its own."""
    asked = ("db", "explain", *arguments)
    return await asyncio.to_thread(CliRunner().invoke, main, asked, env=environment)


def nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(each for below in node["below"] for each in nodes(below))]


async def test_a_path_shows_each_statement_it_sends(environment: dict[str, str]) -> None:
    path = "/api/v1/projects?status=open&sort=budget"
    result = await call(environment, path, "--json")
    assert result.exit_code == 0, result.output
    (explained,) = json.loads(result.output)
    found = nodes(explained["plan"]["root"])
    assert "idx_projects_status_budget" in {node["on"] for node in found}
    assert explained["advice"] == []
    assert "idx_projects_status_budget" in (await call(environment, path)).output


async def test_what_reads_in_vain_gets_an_index_tried_and_rolled_back(
    environment: dict[str, str], uri: str
) -> None:
    statement = "SELECT * FROM bare WHERE kind = 'kind 7' AND amount > 19000"
    result = await call(environment, statement, "--json")
    assert result.exit_code == 0, result.output
    (explained,) = json.loads(result.output)
    (root,) = nodes(explained["plan"]["root"])
    assert (root["kind"], root["table"], root["rows"]) == ("Seq Scan", "bare", 10)
    assert root["removed"] == 20_000 - 10
    (advice,) = explained["advice"]
    assert advice["index"] == "CREATE INDEX ON bare (kind, amount)"
    assert advice["after_ms"] is not None
    async with connected(uri) as connection:
        query = "SELECT count(*) FROM pg_index WHERE indrelid = 'bare'::regclass"
        assert await connection.fetchval(query) == 0
    assert "Perhaps CREATE INDEX ON bare (kind, amount)" in (
        " ".join((await call(environment, statement)).output.split())
    )


async def test_each_step_has_its_own_time_and_blocks(environment: dict[str, str], uri: str) -> None:
    statement = "SELECT kind, count(*) FROM bare GROUP BY kind ORDER BY 2"
    (explained,) = json.loads((await call(environment, statement, "--json")).output)
    root = explained["plan"]["root"]
    found = nodes(root)
    assert sum(node["self_ms"] for node in found) == pytest.approx(root["total_ms"], rel=0.01)
    scan = next(node for node in found if node["kind"] == "Seq Scan")
    assert scan["rows"] == 20_000
    async with connected(uri) as connection:
        pages = await connection.fetchval("SELECT pg_relation_size('bare') / 8192")
    assert scan["hit"] + scan["read"] == pages
    assert all(node["hit"] + node["read"] < pages for node in found if node is not scan)


@pytest.mark.parametrize("statement", ["ORDER BY amount DESC", "WHERE id > 0 ORDER BY amount"])
async def test_what_is_sorted_for_its_first_rows_gets_an_index_in_that_order(
    environment: dict[str, str], statement: str
) -> None:
    (advice,) = (await _explained(environment, f"SELECT * FROM bare {statement} LIMIT 5"))["advice"]
    assert advice["index"] == "CREATE INDEX ON bare (amount)"
    assert advice["reason"] == "Sort was handed 20,000 rows of bare for 5"
    assert advice["after_ms"] is not None


async def test_a_sort_behind_equal_values_gets_an_index_that_begins_with_them(
    environment: dict[str, str], uri: str
) -> None:
    async with connected(uri) as connection:
        await connection.execute("""
            CREATE TABLE halves AS
            SELECT n AS id, n * 7 % 100 AS amount, CASE n % 2 WHEN 0 THEN 'even' ELSE 'odd' END half
            FROM generate_series(1, 20000) n;
            ANALYZE halves;
        """)
    statement = "SELECT * FROM halves WHERE half = 'odd' ORDER BY amount, id DESC LIMIT 5"
    (advice,) = (await _explained(environment, statement))["advice"]
    assert advice["index"] == "CREATE INDEX ON halves (half, amount, id DESC)"


async def test_what_a_statement_changes_is_rolled_back(
    environment: dict[str, str], uri: str
) -> None:
    result = await call(environment, "DELETE FROM bare", "--json")
    assert result.exit_code == 0, result.output
    async with connected(uri) as connection:
        assert await connection.fetchval("SELECT count(*) FROM bare") == 20_000


async def test_a_name_shows_its_query_for_what_the_database_holds(
    environment: dict[str, str],
) -> None:
    explained = await _explained(environment, "projects.posted")
    found = nodes(explained["plan"]["root"])
    assert any(str(node["on"]).startswith("idx_projects_client_") for node in found)
    assert sum(node["rows"] for node in found) > 0
    page = await _explained(environment, "projects.select_project_pages:-budget?published,status")
    assert "idx_projects_status_budget" in {node["on"] for node in nodes(page["plan"]["root"])}


async def test_a_generic_plan_is_for_any_values(environment: dict[str, str]) -> None:
    """A plan for the values at hand has them in its conditions."""

    def conditions(explained: dict[str, Any]) -> str:
        return str([node["details"] for node in nodes(explained["plan"]["root"])])

    assert "$1" in conditions(await _explained(environment, "proposals.lowest_bids", "--generic"))
    assert "$1" not in conditions(await _explained(environment, "proposals.lowest_bids"))
    statement = "SELECT * FROM projects WHERE id = $1"
    explained = await _explained(environment, statement, "--generic")
    assert "(id = $1)" in conditions(explained)
    assert explained["plan"]["execution_ms"] is None


async def test_without_a_name_the_queries_are_listed(environment: dict[str, str]) -> None:
    result = await call(environment, "--json")
    assert result.exit_code == 0, result.exception
    listed = {each["name"]: each["forms"] for each in json.loads(result.output)}
    assert listed.keys() == QUERIES.keys()
    assert "created_at?published" in listed["projects.select_project_pages"]
    assert "projects.posted" in (await call(environment)).output


async def test_every_query_can_be_explained_by_what_the_database_holds(uri: str) -> None:
    """Executed, or at least planned where a made-up row breaks a rule of the tables."""
    refused = set()
    async with planning(uri) as db:
        for name, query in QUERIES.items():
            statement = next(iter(query.forms().values()))
            if UNPLANNED.match(str(statement)):
                continue
            text, parameters = sent(statement, await examples(db, statement))
            await db.rollback()
            for generic in (False, True):
                try:
                    await explain(db, text, parameters, generic=generic)
                except IntegrityError:
                    refused.add(name)
                    await foresee(db, text, parameters, generic=generic)
    assert refused <= {"auth.insert_tokens", "users.insert_skills", "projects.insert_skills"}


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("projects.postd", "there is no query projects.postd; is it projects.posted"),
        ("projects.posted:wrong", "projects.posted has no form wrong"),
        ("outbox.vacuum", "PostgreSQL has no plan for VACUUM"),
        ("SELECT * FROM nowhere", 'relation "nowhere" does not exist'),
        ("/api/v1/nothing", "is 404"),
        ("/api/v1/projects?status=wrong", "is 422"),
        ("/livez", "asks the database nothing"),
    ],
)
async def test_what_cannot_be_explained_is_said_in_one_line(
    environment: dict[str, str], what: str, says: str
) -> None:
    result = await call(environment, what)
    assert result.exit_code == 2
    assert says in result.output
    assert len(result.output.strip().splitlines()) == 1


async def test_a_statement_that_reads_well_gets_no_advice(environment: dict[str, str]) -> None:
    result = await call(environment, "SELECT * FROM projects WHERE id = 7", "--json")
    (explained,) = json.loads(result.output)
    assert explained["advice"] == []


async def _explained(environment: dict[str, str], *asked: str) -> Any:
    result = await call(environment, *asked, "--json")
    assert result.exit_code == 0, result.output
    (explained,) = json.loads(result.output)
    return explained


PARALLEL = """
    SET parallel_setup_cost = 0;
    SET parallel_tuple_cost = 0;
    SET min_parallel_table_scan_size = 0;
"""


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM bare WHERE kind LIKE '%z%'",
        "WITH c AS MATERIALIZED (SELECT kind, count(*) AS n FROM bare GROUP BY kind) "
        "SELECT sum(a.n) FROM c AS a JOIN c AS b USING (kind)",
    ],
)
@pytest.mark.parametrize("parallel", [False, True])
async def test_what_a_cte_read_is_not_told_of_its_scans_too(
    environment: dict[str, str], uri: str, statement: str, parallel: bool
) -> None:
    """Nor by processes side by side. How times add up: `tests/unit/test_plans.py`."""
    database = make_url(uri).database
    async with connected(uri) as connection:
        for setting in PARALLEL.strip().splitlines() if parallel else ():
            await connection.execute(f'ALTER DATABASE "{database}" {setting}')
        try:
            root = (await _explained(environment, statement))["plan"]["root"]
        finally:
            await connection.execute(f'ALTER DATABASE "{database}" RESET ALL')
    found = nodes(root)
    assert any(node["kind"].startswith("Gather") for node in found) is parallel
    (scan,) = (node for node in found if node["kind"] == "Seq Scan")
    blocks = sum(node["hit"] + node["read"] for node in found if node["kind"] == "CTE Scan")
    assert blocks == 0 < scan["hit"] + scan["read"]


async def test_what_spills_is_told_of_the_step_that_spills(environment: dict[str, str]) -> None:
    statement = """
        SELECT count(*) FROM (
            SELECT bare.* FROM bare, generate_series(1, 20) ORDER BY kind, amount OFFSET 0
        ) AS sorted
    """
    found = nodes((await _explained(environment, statement))["plan"]["root"])
    assert {node["kind"] for node in found if node["spilled"]} == {"Sort"}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM bare WHERE kind = 'kind 7' OR amount = 3",
        "SELECT * FROM bare WHERE (amount > 3) IS NOT TRUE",
        "SELECT count(*) FROM bare WHERE amount > 5000",
    ],
)
async def test_what_no_index_would_help_gets_no_advice(
    environment: dict[str, str], statement: str
) -> None:
    explained = await _explained(environment, statement)
    assert max(node["removed"] for node in nodes(explained["plan"]["root"])) >= 1_000
    assert explained["advice"] == []


async def test_a_table_is_named_as_postgresql_takes_it(
    environment: dict[str, str], uri: str
) -> None:
    async with connected(uri) as connection:
        await connection.execute('CREATE TABLE "order" AS SELECT * FROM bare; ANALYZE "order"')
    (advice,) = (await _explained(environment, 'SELECT * FROM "order" WHERE amount = 7'))["advice"]
    assert advice["index"] == 'CREATE INDEX ON "order" (amount)'
    assert advice["after_ms"] is not None


async def test_an_index_is_not_waited_for(environment: dict[str, str], uri: str) -> None:
    """Where somebody writes, it is proposed and why it wasn't tried is said."""
    async with connected(uri) as writer:
        await writer.execute("BEGIN; LOCK TABLE bare IN ROW EXCLUSIVE MODE")
        (advice,) = (await _explained(environment, "SELECT * FROM bare WHERE amount = 7"))["advice"]
        await writer.execute("ROLLBACK")
    assert advice["after_ms"] is None
    assert "lock timeout" in advice["untried"]


async def test_who_only_reads_is_told_what_might_help(
    environment: dict[str, str], uri: str
) -> None:
    async with connected(uri) as connection:
        await connection.execute("CREATE ROLE onlooker LOGIN; GRANT SELECT ON bare TO onlooker")
        theirs = make_url(uri).set(username="onlooker").render_as_string(hide_password=False)
        try:
            explained = await _explained(
                environment | {"SQLALCHEMY_DATABASE_URI": theirs},
                "SELECT * FROM bare WHERE amount = 7",
            )
        finally:
            await connection.execute("DROP OWNED BY onlooker; DROP ROLE onlooker")
    (advice,) = explained["advice"]
    assert advice["untried"] == "the table is another role's"
