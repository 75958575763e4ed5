"""`mercenary db stats` tells the product's queries by name, in whatever words they are kept."""

import re

import httpx
import pytest

from mercenary.app import Application
from mercenary.db.metadata import metadata
from mercenary.ops.naming import shape
from tests.db.versions.test_inspection import answer
from tests.factories import sign_up

TABLES = re.compile(rf"\b(?:{'|'.join(metadata.tables)})\b")
FOREIGN_KEY = "SELECT $2 FROM ONLY"  # PostgreSQL's own, which looks for a row that is named


async def test_what_the_application_asks_has_its_name(
    application: Application, client: httpx.AsyncClient
) -> None:
    person = await sign_up(client)
    headers = person.headers | {"Cache-Control": "no-cache"}
    for path in (
        "/skills?limit=5",
        "/projects?status=open&sort=budget&include=total,facets",
        "/projects?q=words",
        f"/users/{person.id}",
        "/users?role=freelancer",
        "/stats/marketplace",
    ):
        result = await client.get(f"/api/v1{path}", headers=headers)
        assert result.status_code == 200, (path, result.text)
    stats = await answer(application.database_uri, "stats", "--limit", "1000")
    asked = {each["text"]: each["name"] for each in stats["statements"]}
    assert {"projects.select_project_pages", "auth.by_email"} <= set(asked.values())
    unknown = [text for text, name in asked.items() if name is None and TABLES.search(text)]
    assert [text for text in unknown if not text.startswith(FOREIGN_KEY)] == []


@pytest.mark.parametrize(
    ("ours", "kept"),
    [
        ("a IN ($1, $2)", "a IN ($1 /*, ... */)"),
        ("a = 'it''s' AND b = -1.5", "a = $1 AND b = $2"),
        ("LIMIT ALL OFFSET 0", "LIMIT $1 OFFSET $2"),
        ("EXTRACT(epoch FROM a)", "EXTRACT($1 FROM a)"),
        ("is_active = true\n  AND t2.id = 2", "is_active = $1 AND t2.id = $2"),
    ],
)
def test_a_shape_is_the_same_however_values_are_left_out(ours: str, kept: str) -> None:
    assert shape(ours) == shape(kept)
    assert shape("SELECT t1.id") != shape("SELECT t2.id")
