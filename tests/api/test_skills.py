"""Skills: how they are found, who may add one, and that each is there once."""

import asyncio

import httpx
import pytest

from tests.api.lists import listed, walked
from tests.conftest import Statements
from tests.factories import Person, sign_up, sign_up_admin

NAMES = [
    "Java",
    "JavaScript",
    "java beans",
    "TypeScript",
    "Photoshop",
    "Sale",
    "Salesforce administration",
    "Sauna building",
    "50% off",
]


@pytest.fixture(scope="module")
async def admin(client: httpx.AsyncClient, database_uri: str) -> Person:
    return await sign_up_admin(client, database_uri)


@pytest.fixture(scope="module", autouse=True)
async def known(admin: Person) -> dict[str, int]:
    """The ids of NAMES."""
    answers = [await admin.post("/skills", {"name": name}) for name in NAMES]
    return {answer.json()["name"]: answer.json()["id"] for answer in answers}


async def found(client: httpx.AsyncClient, q: str) -> list[str]:
    """The names that a search finds, best first."""
    return [skill["name"] for skill in await listed(client, "/skills", q=q)]


async def test_a_new_skill_is_answered_with_where_it_lives(
    client: httpx.AsyncClient, admin: Person
) -> None:
    answer = await admin.post("/skills", {"name": "Welding"})
    assert answer.status_code == 201
    skill = answer.json()
    assert skill == {
        "id": skill["id"],
        "name": "Welding",
        "created_at": skill["created_at"],
        "updated_at": skill["created_at"],
        "version": 1,
    }
    assert answer.headers["location"] == f"/api/v1/skills/{skill['id']}"
    assert (await client.get(answer.headers["location"])).json() == skill


async def test_only_admins_add_skills(client: httpx.AsyncClient) -> None:
    for role in ("client", "freelancer"):
        answer = await (await sign_up(client, role)).post("/skills", {"name": "Sneaking"})
        assert answer.status_code == 403
    assert (await client.post("/api/v1/skills", json={"name": "Sneaking"})).status_code == 401
    assert "Sneaking" not in await found(client, "Sneaking")


async def test_a_skill_that_isnt_there_is_not_found(client: httpx.AsyncClient) -> None:
    for id in ("0", "abc", str(10**15), str(2**63)):
        assert (await client.get(f"/api/v1/skills/{id}")).status_code == 404


async def test_without_a_search_skills_come_by_name_whatever_their_case(
    client: httpx.AsyncClient,
) -> None:
    everything = [skill["name"] for skill in await walked(client, "/skills", limit=2)]
    assert everything == sorted(everything, key=str.lower)
    assert set(NAMES) <= set(everything)


async def test_names_that_begin_so_come_before_names_that_are_alike(
    client: httpx.AsyncClient,
) -> None:
    # Sale is far more like it than the other, and yet comes after.
    assert await found(client, "sales") == ["Salesforce administration", "Sale"]
    assert (await found(client, "java"))[0] == "Java"
    assert set(await found(client, "JAVA")) == {"Java", "JavaScript", "java beans"}
    assert (await found(client, "JAVASC"))[0] == "JavaScript"


async def test_a_misspelt_name_is_found(client: httpx.AsyncClient) -> None:
    assert "Photoshop" in await found(client, "fotoshop")
    assert await found(client, "qqqq") == []


async def test_a_single_letter_finds_what_begins_with_it(client: httpx.AsyncClient) -> None:
    assert await found(client, "p") == ["Photoshop"]


async def test_signs_that_mean_something_to_a_database_are_just_signs(
    client: httpx.AsyncClient,
) -> None:
    assert await found(client, "50%") == ["50% off"]
    for q in ("%", "_", "\\", "'", "' OR 1=1 --", "😀", "\u202e"):
        assert await found(client, q) == []


async def test_a_search_is_walked_by_cursor_without_loss_or_repeat(
    client: httpx.AsyncClient,
) -> None:
    whole = await listed(client, "/skills", q="java")
    assert await walked(client, "/skills", limit=1, q="java") == whole
    assert len(whole) > 2


async def test_searches_of_one_moment_each_find_their_own_and_share_statements(
    client: httpx.AsyncClient, statements: Statements
) -> None:
    asked = ["photo", "sauna", "typescript", "50%"] * 5
    with statements.recorded():
        answers = await asyncio.gather(*(found(client, q) for q in asked))
    best = {answer[0] for answer in answers}
    assert best == {"Photoshop", "Sauna building", "TypeScript", "50% off"}
    assert [answers[index] for index in range(4)] * 5 == answers
    assert len(statements) <= 2


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/name"]),
        ({"name": ""}, ["/name"]),
        ({"name": " \t"}, ["/name"]),
        ({"name": "x" * 81}, ["/name"]),
        ({"name": "a\0b"}, ["/name"]),
        ({"name": None}, ["/name"]),
        ({"name": 5, "level": 1}, ["/level", "/name"]),
        ([], [""]),
    ],
)
async def test_wrong_skills_are_refused_and_every_fault_named(
    admin: Person, body: object, pointers: list[str]
) -> None:
    answer = await admin.post("/skills", body)
    assert answer.status_code == 422
    assert sorted(fault["pointer"] for fault in answer.json()["errors"]) == pointers


@pytest.mark.parametrize("query", ["q=", "q=" + "x" * 81, "limit=0", "sort=name", "q=a&q=b"])
async def test_wrong_parameters_are_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/api/v1/skills?{query}")
    assert answer.status_code == 422
    name = query.partition("=")[0]
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [f"?{name}"]


@pytest.mark.parametrize("name", ["Java", "JAVA", " java ", "java\tBeans"])
async def test_a_name_that_is_taken_is_a_conflict_whatever_its_case(
    admin: Person, name: str
) -> None:
    answer = await admin.post("/skills", {"name": name})
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/conflict"


async def test_of_equal_names_at_once_one_gets_in_and_the_others_are_untouched(
    client: httpx.AsyncClient, admin: Person, statements: Statements
) -> None:
    asked = ["Élan", "ÉLAN", "élan", " Élan", "Carving", "carving", "Dancing"]
    with statements.recorded():
        answers = await asyncio.gather(*(admin.post("/skills", {"name": name}) for name in asked))
    added = {a.json()["name"].lower() for a in answers if a.status_code == 201}
    assert added == {"élan", "carving", "dancing"}
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 4
    assert len([text for text in statements if text.startswith("INSERT")]) <= 3
    everything = [s["name"].lower() for s in await walked(client, "/skills", limit=100)]
    assert len(everything) == len(set(everything))
