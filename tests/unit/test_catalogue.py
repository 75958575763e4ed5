"""Every query has a name, and none is forgotten."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest
from sqlalchemy import Text, column, select, text

import mercenary
from mercenary.catalogue import QUERIES
from mercenary.db import named
from mercenary.db.named import Catalogue
from mercenary.db.pages import PageAsk
from mercenary.projects import queries as projects

# They ask the catalogs of PostgreSQL or Citus, or set something.
NO_QUERIES_OF_THE_PRODUCT = {
    f"mercenary.db.{name}" for name in ("advice", "distribution", "plans", "standing")
}


def modules() -> Iterator[str]:
    for each in pkgutil.walk_packages(mercenary.__path__, "mercenary."):
        package, _, name = each.name.rpartition(".")
        if name == "queries" or package == "mercenary.db":
            yield each.name


@pytest.mark.parametrize("name", sorted({*modules()} - NO_QUERIES_OF_THE_PRODUCT))
def test_what_a_module_declares_is_in_the_catalogue(name: str) -> None:
    declared = Catalogue([importlib.import_module(name)])
    assert declared.keys() <= QUERIES.keys()


def test_what_composes_statements_on_demand_knows_its_own_name() -> None:
    """By which its statements are known when they are sent."""
    for name, query in QUERIES.items():
        for statement in (*query.forms().values(), *query.forms(sharded=True).values()):
            assert QUERIES.name_of(statement) == name


def test_a_page_is_known_by_the_name_of_its_list() -> None:
    ask = PageAsk((("published", None), ("q", "logo")), "-relevance", None, 20, ("id", "title"))
    statement, _ = projects.select_project_pages.statement(ask)
    assert QUERIES.name_of(statement) == "projects.select_project_pages"


def test_a_statement_that_nobody_declared_has_no_name() -> None:
    assert QUERIES.name_of(select(column("id"))) is None


def test_capitals_tell_what_is_sent_from_its_parts() -> None:
    module = ModuleType("mercenary.inventions.queries")
    part = select(column("name", Text))
    vars(module).update(
        _part=part,
        _WHOLE=part.limit(1),
        _WHOLE_ON_SHARDS=part.limit(2),
        _BY_TABLE={"one": part.limit(3), "two": text("SELECT 1")},
        _LIMIT=3,
        _TABLES={"one": "two"},
    )
    found = Catalogue([module])
    assert list(found) == ["inventions.whole", "inventions.by_table"]
    assert str(found["inventions.whole"].forms(sharded=True)[""]) == str(part.limit(2))
    assert list(found["inventions.by_table"].forms()) == ["one", "two"]


def test_the_names_are_those_of_features_and_variables() -> None:
    assert {
        "projects.posted",
        "projects.lock",
        "projects.select_project_pages",
        "projects.select_project_pages_counts",
        "proposals.lowest_bids",
        "auth.erase",
        "outbox.oldest",
        "idempotency.stored",
        "invariants.violations",
    } <= QUERIES.keys()
    assert named.NamedQuery("a.b", text("SELECT 1")).forms().keys() == {""}
