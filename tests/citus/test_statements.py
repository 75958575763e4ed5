"""What the product sends a cluster is what Citus takes, and names the shards that it is about."""

import pytest

from tests.citus.reading import Level
from tests.citus.rules import faults
from tests.citus.statements import levels, statements

# Queries that ask every shard, and know it.
EVERY_SHARD = {
    "auth.disable": "credentials by their user, when an account is closed",
    "auth.erase": "the same, when it is erased",
    "auth.dead": "cleaning",
    "idempotency.expired": "cleaning",
    "users.erasable": "cleaning",
    "cdn.delete_others": "cleaning",
    "projects.posted": "a client's projects, when the client gets another name",
    "projects.named_otherwise": "the same, when an account is erased",
    "projects.unfinished": "the same",
    "proposals.letters": "the same for a freelancer's proposals",
    "proposals.select_proposals": "a proposal by an address that doesn't name its project",
    "outbox.look": "the relay",
    "outbox.oldest": "the relay",
    "outbox.backlog": "the relay",
    "outbox.stamped": "the relay, asked by tests",
    "users.select_user_pages": "lists",
    "users.select_public_pages": "lists",
    "projects.select_project_pages": "lists",
    "proposals.select_proposal_pages": "lists, but for a project's",
    "users.select_user_pages_counts": "lists",
    "users.select_public_pages_counts": "lists",
    "projects.select_project_pages_counts": "lists",
    "proposals.select_proposal_pages_counts": "lists, but for a project's",
    "invariants.violations": "db check",
    "invariants.bounds": "db check",
    "stats_skills": "statistics",
    "stats_marketplace": "statistics",
}


def test_citus_refuses_nothing_of_what_it_is_sent() -> None:
    assert len(statements()) > 300
    found = {name: faults(level) for name, level in levels().items()}
    assert {name: fault for name, fault in found.items() if fault} == {}


def test_whatever_is_no_query_is_known() -> None:
    """They are propagated by Citus (VACUUM) or are about what is on the coordinator alone."""
    assert statements().keys() - levels().keys() == {
        "outbox.vacuum",
        "stats.refresh:stats_skills",
        "stats.refresh:stats_marketplace",
    }


def names_its_shards(statement: Level) -> bool:
    """Whether each table that is read or changed is asked for by its distribution column."""
    inserts = type(statement.node).__name__ == "InsertStmt"
    return inserts or all(
        level.named(by_list=True) == set(level.spread) or level.is_correlated
        for level in statement.all
    )


def test_a_query_names_its_shards_unless_it_is_known_to_ask_all() -> None:
    asks_all = {
        name.partition(":")[0] for name, level in levels().items() if not names_its_shards(level)
    }
    assert asks_all == EVERY_SHARD.keys()


@pytest.mark.parametrize("name", ["proposals.select_proposal_pages"])
def test_a_project_s_proposals_are_listed_by_its_shard(name: str) -> None:
    asked = {form: level for form, level in levels().items() if form.startswith(f"{name}:")}
    by_project = {form: level for form, level in asked.items() if "project_id" in form}
    assert by_project
    assert all(level.named(by_list=False) == set(level.spread) for level in by_project.values())
