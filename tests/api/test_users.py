"""Users: who sees what of them, and how they change."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.lists import listed
from tests.api.profiles import pointers, profile
from tests.conftest import Statements
from tests.factories import Person, sign_up, sign_up_admin

PRIVATE = ("email", "is_active")


@pytest.fixture(scope="module")
async def admin(client: httpx.AsyncClient, database_uri: str) -> Person:
    return await sign_up_admin(client, database_uri)


@pytest.fixture(scope="module")
async def ada(client: httpx.AsyncClient) -> Person:
    return await sign_up(client, "freelancer", name="Ada")


@pytest.fixture(scope="module")
async def skills(admin: Person) -> list[int]:
    """Three skills' ids."""
    answers = [await admin.post("/skills", {"name": name}) for name in ("Rust", "Sales", "SQL")]
    return [answer.json()["id"] for answer in answers]


async def test_a_profile_has_every_documented_field(client: httpx.AsyncClient, ada: Person) -> None:
    user = (await client.get(f"/api/v1/users/{ada.id}")).json()
    assert user == {
        "id": ada.id,
        "name": "Ada",
        "role": "freelancer",
        "headline": "",
        "bio": "",
        "skills": [],
        "hourly_rate": None,
        "currency": "USD",
        "country": None,
        "created_at": user["created_at"],
        "updated_at": user["created_at"],
        "version": 1,
        "email": None,
        "is_active": None,
    }
    assert len(user["created_at"]) == len("2026-11-23T10:00:00.000000Z")


async def test_an_address_shows_to_admins_and_in_ones_own_profile_only(
    client: httpx.AsyncClient, ada: Person, admin: Person
) -> None:
    own, by_admin = await ada.get("/users/me"), await admin.get(f"/users/{ada.id}")
    assert (own.json()["email"], own.json()["is_active"]) == (ada.email, True)
    assert by_admin.json() == own.json()
    for answer in (await client.get(f"/api/v1/users/{ada.id}"), await ada.get(f"/users/{ada.id}")):
        assert [answer.json()[field] for field in PRIVATE] == [None, None]


async def test_a_guest_has_no_profile_of_their_own(client: httpx.AsyncClient) -> None:
    for method in ("GET", "PATCH"):
        answer = await client.request(method, "/api/v1/users/me", json={})
        assert answer.status_code == 401
        assert "WWW-Authenticate" in answer.headers


async def test_a_deactivated_user_is_invisible_except_to_admins(
    client: httpx.AsyncClient, admin: Person
) -> None:
    person = await profile(client, "Leaver", country="AF")
    assert (await person.request("DELETE", "/users/me")).status_code == 204
    assert (await client.get(f"/api/v1/users/{person.id}")).status_code == 404
    assert await listed(client, "/users", country="AF") == []
    seen = (await admin.get(f"/users/{person.id}")).json()
    assert (seen["is_active"], seen["email"], seen["version"]) == (False, person.email, 3)
    among = (await admin.get("/users?country=AF")).json()["items"]
    assert [user["id"] for user in among] == [person.id]


@pytest.mark.parametrize(
    "id", ["0", "-1", "1.5", "abc", "01", "9223372036854775807", "9223372036854775808", "9" * 40]
)
async def test_an_id_of_nobody_is_not_found(client: httpx.AsyncClient, id: str) -> None:
    answer = await client.get(f"/api/v1/users/{id}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_patch_changes_what_it_names_and_leaves_the_rest(
    client: httpx.AsyncClient,
) -> None:
    person = await profile(client, "Grace", headline="Compilers", country="BF")
    before = (await person.get("/users/me")).json()
    answer = await person.patch(
        "/users/me", {"bio": "Since 1952.", "hourly_rate": 12.5, "currency": "EUR"}
    )
    changed = before | {
        "bio": "Since 1952.",
        "hourly_rate": "12.50",
        "currency": "EUR",
        "version": before["version"] + 1,
        "updated_at": answer.json()["updated_at"],
    }
    assert answer.json() == changed
    assert changed["updated_at"] > before["updated_at"]
    assert (await person.get("/users/me")).json() == changed


async def test_null_empties_what_may_be_empty_and_absence_changes_nothing(
    client: httpx.AsyncClient,
) -> None:
    person = await profile(client, "Nil", country="BG", hourly_rate="1", headline="x", bio="y")
    kept = (await person.patch("/users/me", {"headline": ""})).json()
    assert (kept["country"], kept["hourly_rate"], kept["headline"]) == ("BG", "1.00", "")
    emptied = (await person.patch("/users/me", {"country": None, "hourly_rate": None})).json()
    assert (emptied["country"], emptied["hourly_rate"], emptied["bio"]) == (None, None, "y")
    for field in ("name", "headline", "bio", "currency"):
        assert pointers(await person.patch("/users/me", {field: None})) == [f"/{field}"]


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("name", ["N", "é" * 120], ["", " ", "x" * 121, "a\0b", 5, ["x"]]),
        ("headline", ["", "x" * 160], ["x" * 161, "a\0b", True]),
        ("bio", ["", "x" * 5000], ["x" * 5001, "a\0b", {}]),
        (
            "hourly_rate",
            ["0.01", 9999999999.99, "0100.50", 7, 57 * 0.01, 0.1 + 0.2],
            [
                0,
                -1,
                "0.001",
                "10000000000",
                "NaN",
                "x",
                "",
                True,
                [],
                1e300,
                0.570000001,
                "1e3",
                "1_000",
                " 5",
                "\u0661",
            ],
        ),
        ("currency", ["EUR"], ["XXX", "EURO", "eur", "", "\u0131dr", 5]),
        ("country", ["DE"], ["XX", "DEU", "de", "", "\u0131d", 5]),
    ],
)
async def test_the_bounds_of_each_field_hold(
    ada: Person, field: str, good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        answer = await ada.patch("/users/me", {field: value})
        assert answer.status_code == 200, (value, answer.text)
    for value in bad:
        assert pointers(await ada.patch("/users/me", {field: value})) == [f"/{field}"], value


async def test_a_patch_names_all_its_faults_and_changes_nothing(ada: Person) -> None:
    before = (await ada.get("/users/me")).json()
    wrong = {"name": "", "bio": 1, "hourly_rate": -1, "country": "XX", "role": "admin", "id": 1}
    expected = ["/bio", "/country", "/hourly_rate", "/id", "/name", "/role"]
    assert pointers(await ada.patch("/users/me", wrong)) == expected
    assert pointers(await ada.patch("/users/me", [])) == [""]
    assert (await ada.get("/users/me")).json() == before


async def test_patches_of_one_user_at_once_all_take_place(client: httpx.AsyncClient) -> None:
    person = await profile(client, "Busy")
    bodies = [{"headline": f"{number}"} for number in range(10)]
    bodies += [{"bio": f"{number}"} for number in range(10)]
    answers = await asyncio.gather(*(person.patch("/users/me", body) for body in bodies))
    assert sorted(answer.json()["version"] for answer in answers) == list(range(2, 22))
    last = max(answers, key=lambda answer: int(answer.json()["version"])).json()
    assert (await person.get("/users/me")).json() == last


async def test_skills_are_replaced_whole(ada: Person, skills: list[int]) -> None:
    first = [{"skill_id": skills[2], "level": 5}, {"skill_id": skills[0], "level": 1}]
    answer = await ada.request("PUT", "/users/me/skills", json=first)
    assert answer.status_code == 200, answer.text
    assert answer.json()["skills"] == sorted(first, key=lambda skill: skill["skill_id"])
    second = [{"skill_id": skills[1], "level": 2}]
    replaced = (await ada.request("PUT", "/users/me/skills", json=second)).json()
    assert replaced["skills"] == second
    assert replaced["version"] == answer.json()["version"] + 1
    assert (await ada.get(f"/users/{ada.id}")).json()["skills"] == second
    assert (await ada.request("PUT", "/users/me/skills", json=[])).json()["skills"] == []


async def test_wrong_skills_are_all_named_and_none_is_stored(
    ada: Person, skills: list[int]
) -> None:
    before = (await ada.get("/users/me")).json()
    good = {"skill_id": skills[0], "level": 3}
    for body, expected in (
        ([good, {"skill_id": 10**15, "level": 1}, good], ["/1/skill_id", "/2/skill_id"]),
        ([good | {"level": 0}, good | {"level": 6}], ["/0/level", "/1/level"]),
        ([good, {"skill_id": "x"}, 5], ["/1/level", "/1/skill_id", "/2"]),
        ([good | {"since": 1999}], ["/0/since"]),
        ([good | {"skill_id": 2**63}], ["/0/skill_id"]),
        ([{"skill_id": number, "level": 1} for number in range(1, 52)], [""]),
        ([good | {"level": 9}] * 51, ["", *(f"/{index}/level" for index in range(50))]),
        ({"skills": [good]}, [""]),
        ("x", [""]),
    ):
        answer = await ada.request("PUT", "/users/me/skills", json=body)
        assert pointers(answer) == sorted(expected), body
    assert (await ada.get("/users/me")).json() == before


async def test_of_a_flood_of_faults_a_hundred_are_named(ada: Person) -> None:
    for method, path, body in (
        ("PATCH", "/users/me", {f"field{number}": number for number in range(50_000)}),
        ("PATCH", "/users/me", {"x" * 1_000_000: 1}),
        ("PUT", "/users/me/skills", [0] * 300_000),
    ):
        answer = await ada.request(method, path, json=body)
        assert 1 <= len(pointers(answer)) <= 100
        assert len(answer.content) < 30_000


async def test_only_freelancers_have_skills(client: httpx.AsyncClient, admin: Person) -> None:
    buyer = await sign_up(client, "client")
    for person in (buyer, admin):
        answer = await person.request("PUT", "/users/me/skills", json=[])
        assert answer.status_code == 403
        assert "freelancer" in answer.json()["detail"]
    assert (await client.put("/api/v1/users/me/skills", json=[])).status_code == 401


async def test_twenty_profiles_asked_for_at_once_are_one_or_two_statements(
    client: httpx.AsyncClient, statements: Statements
) -> None:
    people = [await sign_up(client) for _ in range(20)]
    with statements.recorded():
        answers = await asyncio.gather(*(client.get(f"/api/v1/users/{p.id}") for p in people))
    assert [answer.json()["id"] for answer in answers] == [person.id for person in people]
    assert len(statements) <= 2


async def test_twenty_patches_at_once_are_a_few_updates_and_a_wrong_one_fails_alone(
    client: httpx.AsyncClient, skills: list[int], statements: Statements
) -> None:
    people = [await sign_up(client, "freelancer") for _ in range(20)]
    bodies = [[{"skill_id": skills[0], "level": 1}] for _ in people]
    bodies[7] = [{"skill_id": 10**15, "level": 1}]
    with statements.recorded():
        answers = await asyncio.gather(
            *(
                person.request("PUT", "/users/me/skills", json=body)
                for person, body in zip(people, bodies, strict=True)
            )
        )
    statuses = [answer.status_code for answer in answers]
    assert statuses == [200] * 7 + [422] + [200] * 12
    assert len([text for text in statements if text.startswith("UPDATE")]) <= 3
