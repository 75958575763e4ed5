"""Each rule catches what Citus refuses, and lets its mended form pass."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import pytest
from asyncpg import Connection

from tests.citus.reading import QUERIES, read
from tests.citus.rules import RULES, STABLE, VOLATILE, Rule, faults
from tests.citus.statements import levels
from tests.db.conftest import connected


class Example(NamedTuple):
    """A statement that is refused, and one to the same end that isn't."""

    refused: str
    taken: str


EXAMPLES: Final[Mapping[str, Example]] = {
    "locks_on_one_shard": Example(
        "SELECT id FROM projects WHERE id = ANY($1) FOR UPDATE",
        "SELECT id FROM projects WHERE id = $1 FOR UPDATE",
    ),
    "joins_by_distribution_column": Example(
        "SELECT p.id FROM projects p JOIN users u ON u.id = p.client_id WHERE u.is_active",
        "SELECT id FROM projects WHERE client_id IN (SELECT id FROM users WHERE is_active)",
    ),
    "correlates_with_spread_rows": Example(
        "SELECT id FROM skills s WHERE EXISTS (SELECT FROM user_skills WHERE skill_id = s.id)",
        "SELECT id FROM skills WHERE id IN (SELECT skill_id FROM user_skills)",
    ),
    "outer_joins_keep_spread_rows": Example(
        "SELECT s.id FROM skills s LEFT JOIN project_skills p ON p.skill_id = s.id",
        "SELECT s.id FROM project_skills p LEFT JOIN skills s ON p.skill_id = s.id",
    ),
    "nothing_lateral": Example(
        "SELECT p.id FROM unnest($1::bigint[]) a(client) JOIN LATERAL"
        " (SELECT id FROM projects WHERE client_id = a.client LIMIT 20) p ON true",
        "SELECT id FROM projects WHERE client_id = $1 LIMIT 20",
    ),
    "no_grouping_sets": Example(
        "SELECT status, currency, count(*) FROM projects GROUP BY CUBE (status, currency)",
        "SELECT status, currency, count(*) FROM projects GROUP BY status, currency",
    ),
    "no_samples": Example(
        "SELECT id FROM projects TABLESAMPLE SYSTEM (1)",
        "SELECT id FROM projects WHERE id % 100 = 0",
    ),
    "no_recursion": Example(
        "WITH RECURSIVE w AS (SELECT id FROM users UNION SELECT id + 1 FROM w) SELECT id FROM w",
        "WITH w AS (SELECT id FROM users UNION SELECT id + 1 FROM users) SELECT id FROM w",
    ),
    "queries_of_one_level": Example(
        "SELECT id FROM projects p WHERE EXISTS (WITH w AS"
        " (SELECT 1 FROM proposals b WHERE b.project_id = p.id) SELECT FROM w)",
        "SELECT id FROM projects p"
        " WHERE EXISTS (SELECT FROM proposals b WHERE b.project_id = p.id)",
    ),
    "no_merge": Example(
        "MERGE INTO projects p USING proposals b ON p.id = b.project_id"
        " WHEN MATCHED THEN UPDATE SET version = 1",
        "UPDATE projects SET version = 1 WHERE id = ANY($1)",
    ),
    "views_by_themselves": Example(
        "SELECT p.project_id FROM project_skills p JOIN stats_skills s ON s.id = p.skill_id",
        "SELECT id FROM stats_skills WHERE id = ANY($1)",
    ),
    "changes_by_themselves": Example(
        "UPDATE projects SET version = n.version"
        " FROM unnest($1::bigint[], $2::int[]) AS n(id, version) WHERE projects.id = n.id",
        "UPDATE projects SET version = $2 WHERE id = $1",
    ),
    "changes_call_nothing_volatile": Example(
        "UPDATE projects SET updated_at = clock_timestamp() WHERE id = $1",
        "UPDATE projects SET updated_at = now() WHERE id = $1",
    ),
    "changes_call_nothing_stable_of_a_row": Example(
        "UPDATE sessions SET expires_at = expires_at + $2::interval WHERE user_id = $1",
        "UPDATE sessions SET expires_at = now() + $2::interval WHERE user_id = $1",
    ),
    "changes_choose_by_immutable_values": Example(
        "UPDATE sessions SET ended_at = coalesce(ended_at, now()) WHERE user_id = $1",
        "UPDATE sessions SET ended_at = now() WHERE user_id = $1 AND ended_at IS NULL",
    ),
    "conflicts_lead_to_immutable_values": Example(
        "INSERT INTO cdn_purges (target, tag) VALUES ($1, $2)"
        " ON CONFLICT (target, tag) DO UPDATE SET due_at = now()",
        "INSERT INTO cdn_purges (target, tag, due_at) VALUES ($1, $2, now())"
        " ON CONFLICT (target, tag) DO UPDATE SET due_at = excluded.due_at",
    ),
    "answers_are_immutable": Example(
        "DELETE FROM users WHERE id = $1 RETURNING now()",
        "DELETE FROM users WHERE id = $1 RETURNING updated_at",
    ),
    "rows_stay_on_their_shard": Example(
        "UPDATE user_skills SET user_id = $1 WHERE user_id = $2",
        "UPDATE user_skills SET level = $1 WHERE user_id = $2",
    ),
    "inserts_name_the_distribution_column": Example(
        "INSERT INTO credentials (user_id, password_hash) VALUES ($1, '')",
        "INSERT INTO credentials (email, user_id, password_hash) VALUES ($2, $1, '')",
    ),
    "inserts_select_or_give_values": Example(
        "INSERT INTO skills (id, name) VALUES ((SELECT max(id) FROM skills), $1)",
        "INSERT INTO skills (id, name) SELECT nextval('skills_id_seq'), $1",
    ),
    "servers_are_asked_by_themselves": Example(
        "SELECT id, pg_current_wal_flush_lsn() FROM outbox",
        "SELECT id FROM outbox",
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_catches_its_example_and_no_rule_its_mended_form(rule: Rule) -> None:
    example = EXAMPLES[rule.__name__]
    assert list(rule(read(example.refused)))
    assert faults(read(example.taken)) == []


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("SELECT id FROM users u JOIN user_skills s ON s.user_id = u.id", False),
        ("SELECT id FROM users u, user_skills s WHERE s.level = u.id", True),
        ("SELECT u.id FROM users u JOIN credentials c ON c.email = u.email", True),
        ("SELECT id, ARRAY(SELECT skill_id FROM user_skills WHERE user_id = users.id) FROM users",
         False),
        ("SELECT id, ARRAY(SELECT id FROM projects WHERE client_id = users.id) FROM users", True),
        ("SELECT id FROM users WHERE id IN (SELECT client_id FROM projects)", False),
        ("SELECT r.session_id FROM refresh_tokens r JOIN sessions s ON s.user_id = r.user_id"
         " WHERE r.user_id = $1 FOR UPDATE", False),
        ("SELECT r.session_id FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id"
         " WHERE r.user_id = $1 FOR UPDATE", True),
        ("DELETE FROM sessions s WHERE user_id = $1 AND NOT EXISTS"
         " (SELECT FROM refresh_tokens t WHERE t.user_id = s.user_id)", False),
        ("DELETE FROM sessions s WHERE NOT EXISTS"
         " (SELECT FROM refresh_tokens t WHERE t.user_id = s.user_id)", True),
        ("WITH u AS MATERIALIZED (SELECT id FROM users) SELECT p.id FROM projects p"
         " JOIN u ON u.id = p.client_id", False),
        ("INSERT INTO outbox (id, key) SELECT nextval('outbox_id_seq'), n.key"
         " FROM unnest($1::bigint[]) AS n(key) WHERE pg_current_xact_id() IS NOT NULL", False),
    ],
)  # fmt: skip
def test_tables_are_told_apart_by_where_their_rows_lie(statement: str, refused: bool) -> None:
    assert bool(faults(read(statement))) == refused


def test_the_shard_is_named_by_a_value_or_by_what_equals_it() -> None:
    joined = "FROM projects p JOIN proposals b ON b.project_id = p.id WHERE "
    for condition, one, some in (
        ("p.id = $1", {"p", "b"}, {"p", "b"}),
        ("b.project_id = ANY($1)", set(), {"p", "b"}),
        ("p.client_id = $1", set(), set()),
        ("p.id = $1 OR p.client_id = $1", set(), set()),
        ("p.id > $1", set(), set()),
        ("p.id = b.project_id", set(), set()),
    ):
        level = read(f"SELECT p.id {joined}{condition}")
        assert level.named(by_list=False) == one, condition
        assert level.named(by_list=True) == some, condition
    outer = read("SELECT p.id FROM projects p LEFT JOIN proposals b ON p.id = 1 AND b.id = 2")
    assert outer.named(by_list=False) == set()


@pytest.fixture
async def server(database_uri: str) -> Connection:
    async with connected(database_uri) as connection:
        yield connection


async def test_the_server_calls_volatile_and_stable_what_the_rules_do(server: Connection) -> None:
    """And whatever else a change calls is immutable."""
    found: dict[str, set[str]] = {}
    for row in await server.fetch("SELECT proname, provolatile::text FROM pg_proc"):
        found.setdefault(row["proname"], set()).add(row["provolatile"])
    assert all(found[name] == {"v"} for name in VOLATILE)
    assert all("s" in found[name] for name in STABLE)
    called = {
        name
        for statement in levels().values()
        for level in statement.all
        if isinstance(level.node, QUERIES[1:])
        for name, _ in level.functions()
    }
    assert called
    assert {name for name in called - VOLATILE - STABLE if found[name] != {"i"}} <= {"unnest"}
