"""Signing up, in and out: what holds, for how long, and what an answer gives away."""

import asyncio
import base64

import asyncpg
import httpx
import pytest

from mercenary import settings
from tests.factories import PASSWORD, new_account, sign_in, sign_up

OTHER = "quite another private word"


async def login(client: httpx.AsyncClient, email: str, password: str) -> httpx.Response:
    return await client.post("/api/v1/auth/login", json={"email": email, "password": password})


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/api/v1/auth/refresh", json={"refresh_token": token})


async def test_an_account_is_opened_and_answers_with_its_own_profile(
    client: httpx.AsyncClient,
) -> None:
    account = new_account("freelancer")
    answer = await client.post("/api/v1/auth/register", json=account)
    user = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/users/{user['id']}"
    assert (user["email"], user["name"], user["role"]) == (
        account["email"],
        account["name"],
        "freelancer",
    )
    assert (user["is_active"], user["version"]) == (True, 1)
    assert "password" not in answer.text


async def test_an_address_has_one_account_whatever_its_case(client: httpx.AsyncClient) -> None:
    account = new_account()
    answers = await asyncio.gather(
        *(
            client.post("/api/v1/auth/register", json=account | {"email": email})
            for email in (account["email"], account["email"].upper(), account["email"].lower())
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]


@pytest.mark.parametrize("role", ["admin", "owner", "", None, 1])
async def test_nobody_registers_in_another_role(client: httpx.AsyncClient, role: object) -> None:
    answer = await client.post("/api/v1/auth/register", json=new_account() | {"role": role})
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/role"]


@pytest.mark.parametrize(
    "password",
    ["short", "x" * 129, "passwordpassword", "Password123456!", "aaaaaaaaaaaaaa", "abcabcabcabc"],
)
async def test_weak_passwords_are_refused(client: httpx.AsyncClient, password: str) -> None:
    answer = await client.post("/api/v1/auth/register", json=new_account() | {"password": password})
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/password"]


@pytest.mark.parametrize(
    "email", ["", "ada", "ada@", "@example.com", "a b@example.com", "a@b", "a@-b.co", "a@b.co\n"]
)
async def test_what_cannot_be_an_address_is_refused(client: httpx.AsyncClient, email: str) -> None:
    answer = await client.post("/api/v1/auth/register", json=new_account() | {"email": email})
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/email"]


async def test_every_fault_of_a_registration_is_named_at_once(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/api/v1/auth/register", json={"email": "x", "password": "y", "role": "z", "admin": True}
    )
    pointers = {fault["pointer"] for fault in answer.json()["errors"]}
    assert pointers == {"/email", "/password", "/role", "/name", "/admin"}


async def test_a_refresh_token_works_once(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    first = await refresh(client, person.refresh_token)
    assert first.status_code == 200
    again = await refresh(client, first.json()["refresh_token"])
    assert again.status_code == 200


async def test_an_old_refresh_token_ends_the_whole_family(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    other = await sign_in(client, person.email, PASSWORD, person.user)
    fresh = (await refresh(client, person.refresh_token)).json()
    assert (await refresh(client, person.refresh_token)).status_code == 401
    assert (await refresh(client, fresh["refresh_token"])).status_code == 401
    assert (await person.get("/users/me")).status_code == 401
    assert (await other.get("/users/me")).status_code == 200


async def test_of_many_at_once_with_one_refresh_token_at_most_one_gets_a_pair(
    client: httpx.AsyncClient,
) -> None:
    person = await sign_up(client)
    answers = await asyncio.gather(*(refresh(client, person.refresh_token) for _ in range(20)))
    assert sum(answer.status_code == 200 for answer in answers) <= 1
    assert (await person.get("/users/me")).status_code == 401


@pytest.mark.parametrize("token", ["x", "=", "AAAA", "!" * 54, "A" * 54, "A" * 201, "ä"])
async def test_what_was_never_a_refresh_token_is_refused(
    client: httpx.AsyncClient, token: str
) -> None:
    assert (await refresh(client, token)).status_code in (401, 422)


async def test_a_guess_with_somebodys_id_ends_no_session(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    guess = base64.urlsafe_b64encode(person.id.to_bytes(8, "big") + b"\0" * 32).rstrip(b"=")
    assert (await refresh(client, guess.decode())).status_code == 401
    assert (await person.get("/users/me")).status_code == 200


async def test_logout_ends_the_session_and_no_other(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    other = await sign_in(client, person.email, PASSWORD, person.user)
    assert (await person.post("/auth/logout")).status_code == 204
    assert (await person.get("/users/me")).status_code == 401
    assert (await refresh(client, person.refresh_token)).status_code == 401
    assert (await other.get("/users/me")).status_code == 200


async def test_another_password_ends_every_other_session(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    other = await sign_in(client, person.email, PASSWORD, person.user)
    answer = await person.post("/auth/password", {"current": PASSWORD, "new": OTHER})
    assert answer.status_code == 204
    assert (await person.get("/users/me")).status_code == 200
    assert (await other.get("/users/me")).status_code == 401
    assert (await refresh(client, other.refresh_token)).status_code == 401
    assert (await login(client, person.email, PASSWORD)).status_code == 401
    assert (await login(client, person.email, OTHER)).status_code == 200


async def test_a_wrong_current_password_changes_nothing(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    answer = await person.post("/auth/password", {"current": OTHER, "new": OTHER + "!"})
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/current"]
    assert (await login(client, person.email, PASSWORD)).status_code == 200


async def test_a_closed_account_is_gone_at_once_for_everybody(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    assert (await person.request("DELETE", "/users/me")).status_code == 204
    assert (await person.get("/users/me")).status_code == 401
    assert (await login(client, person.email, PASSWORD)).status_code == 401
    assert (await refresh(client, person.refresh_token)).status_code == 401
    assert (await client.get(f"/api/v1/users/{person.id}")).status_code == 404
    taken = new_account() | {"email": person.email}
    assert (await client.post("/api/v1/auth/register", json=taken)).status_code == 409


async def test_passwords_and_refresh_tokens_are_not_stored_as_they_are(
    client: httpx.AsyncClient, database_uri: str
) -> None:
    person = await sign_up(client)
    connection = await asyncpg.connect(database_uri)
    hashes = await connection.fetch("SELECT password_hash FROM credentials")
    tokens = await connection.fetch("SELECT token_hash FROM refresh_tokens")
    await connection.close()
    assert all(row["password_hash"].startswith("$argon2id$") for row in hashes if row[0])
    assert person.refresh_token.encode() not in {row["token_hash"] for row in tokens}
    assert {len(row["token_hash"]) for row in tokens} == {32}


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer ", "bearer x.y.z", "ä"])
async def test_bad_credentials_are_refused_where_none_were_needed(
    client: httpx.AsyncClient, header: str
) -> None:
    answer = await client.get(
        "/api/v1/projects", headers={b"authorization": header.encode("latin-1")}
    )
    assert answer.status_code == 401
    assert "www-authenticate" in answer.headers


async def test_too_many_sign_ins_at_once_are_told_so_early(client: httpx.AsyncClient) -> None:
    limits = settings.get()
    bound = limits.password_hashes_at_once + limits.password_hashes_waiting
    answers = await asyncio.gather(
        *(login(client, "nobody@example.com", OTHER) for _ in range(2 * bound))
    )
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {401, 503}
    assert statuses.count(401) >= bound
    refused = [answer for answer in answers if answer.status_code == 503]
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
