"""The import rules of our own notice what they are for."""

from typing import Any

import grimp
import pytest

from tools.import_contracts import OnlyImports, PrivateModules


def graph_with(*imports: tuple[str, str]) -> Any:
    graph = grimp.ImportGraph()
    for importer, imported in imports:
        graph.add_import(importer=importer, imported=imported)
    return graph


def trespasses(kind: Any, graph: Any, **options: Any) -> list[tuple[str, str]]:
    contract = kind(name="rule", session_options={}, contract_options={"root": "m", **options})
    check = contract.check(graph, verbose=False)
    found: list[tuple[str, str]] = check.metadata["trespasses"]
    assert check.kept == (not found)
    return found


@pytest.mark.parametrize(
    ("importer", "imported", "kept"),
    [
        ("m.users.service", "m.users.queries", True),
        ("m.users.service", "m.skills.service", True),
        ("m.seeding.rows", "m.users.queries", True),
        ("m.users.service", "m.skills.queries", False),
        ("m.usersandmore.service", "m.users.queries", False),
        ("m.app", "m.users.queries", False),
    ],
)
def test_a_feature_s_queries_are_its_own(importer: str, imported: str, kept: bool) -> None:
    found = trespasses(
        PrivateModules, graph_with((importer, imported)), names=["queries"], open_to=["m.seeding"]
    )
    assert found == ([] if kept else [(importer, imported)])


@pytest.mark.parametrize(
    ("imported", "kept"),
    [("m.local.files", True), ("m.settings", True), ("m", True), ("m.settings_of_others", False)],
)
def test_a_package_on_its_own_imports_what_is_allowed(imported: str, kept: bool) -> None:
    graph = graph_with(("m.local.postgres", imported), ("m.app", "m.users"))
    found = trespasses(OnlyImports, graph, package="m.local", allowed=["m.settings"])
    assert found == ([] if kept else [("m.local.postgres", imported)])
