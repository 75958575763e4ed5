"""SQL through everything that a request can say: wherever it arrives it is text, or refused."""

import base64
import json
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from mercenary.app import ENDPOINTS
from mercenary.http.endpoint import Endpoint
from mercenary.http.invocation import Signature
from mercenary.http.lists import ListQuery
from mercenary.http.openapi.schemas import example_of
from tests.api.marketplace import Marketplace, headers_of, open_marketplace, stored
from tests.api.test_routes import name_of, slug
from tests.conftest import Statements

# In each payload, so that it would be found in a statement whatever surrounds it there.
MARK = "zqxj"
PAYLOADS = tuple(
    payload.replace("@", MARK)
    for payload in (
        "@'",
        "@''",
        '@"',
        "@`",
        "'@",
        "@' OR '1'='1",
        "@' OR 1=1 --",
        "@' OR 1=1 /*",
        "@') OR ('1'='1",
        "1 OR 1=1 --@",
        "1; DROP TABLE users --@",
        "@'; DROP TABLE users; --",
        "@'; UPDATE users SET role='admin'; COMMIT; --",
        "@'); DELETE FROM sessions; --",
        "@' UNION SELECT password_hash FROM credentials --",
        "@' AND (SELECT count(*) FROM pg_stat_activity) > 0 --",
        "@' || pg_sleep(10) || '",
        "1 AND pg_sleep(10) IS NULL --@",
        "@'; SELECT pg_sleep(10); --",
        "@' AND 1=cast(version() AS int) --",
        "$$@$$",
        "$1@",
        ":ids@",
        "%(ids)s@",
        "{@}",
        "@\\' OR 1=1 --",
        "@\\",
        "\\@",
        "E'\\x27@",
        "@\u02bc OR 1=1 --",
        "@\uff07 OR 1=1 --",
        "@\u2019 OR 1=1 --",
        "@\xbf\x27 OR 1=1 --",
        "@%' OR '%'='",
        "%@%",
        "_@_",
        "@\r\n; DROP TABLE users",
        "@\u202e--",
        "@ & ! | ( : * )",
        "created_at; --@",
        "(SELECT 1 --@",
        "-created_at, (SELECT @)",
        "id,name,@' --",
        "0x3127@",
        "1e1@",
        "@" + "'" * 150,
    )
)
WILDCARDS = ("%", "_", "%%", "__", "\\", "\\%", "%\\", "*", ".*", "'", '"')
GETS = [endpoint for endpoint in ENDPOINTS if endpoint.method == "GET"]
LISTS = [endpoint for endpoint in GETS if Signature(endpoint).takes_query]
PAGED = [endpoint for endpoint in LISTS if issubclass(Signature(endpoint).query, ListQuery)]
WITH_IDS = [endpoint for endpoint in ENDPOINTS if "{" in endpoint.route]
WITH_BODIES = [endpoint for endpoint in ENDPOINTS if Signature(endpoint).body is not None]


@pytest.fixture(scope="module")
async def marketplace(client: httpx.AsyncClient, database_uri: str) -> Marketplace:
    return await open_marketplace(client, database_uri)


def parameters_of(endpoint: Endpoint) -> tuple[str, ...]:
    """The names of the endpoint's parameters."""
    return Signature(endpoint).query.__struct_encode_fields__


def assert_only_text(statements: Statements) -> None:
    """Nothing that a request said has become part of a statement."""
    assert [statement for statement in statements if MARK in statement] == []


async def asked(
    marketplace: Marketplace, endpoint: Endpoint, query: str, *, as_admin: bool = False
) -> httpx.Response:
    """Ask a list for something, in the name of somebody who may."""
    person = marketplace.admin if as_admin else marketplace.caller_of(endpoint)
    path = f"{marketplace.path_of(endpoint)}?{query}"
    return await marketplace.client.client.get(path, headers=headers_of(person))


def test_there_are_lists_to_attack() -> None:
    names = {name for endpoint in LISTS for name in parameters_of(endpoint)}
    assert names >= {"limit", "cursor", "sort", "q", "skill", "status", "role", "country"}


@pytest.mark.parametrize("endpoint", LISTS, ids=name_of)
async def test_a_parameter_is_text_or_refused(
    endpoint: Endpoint, marketplace: Marketplace, statements: Statements, database_uri: str
) -> None:
    before = await stored(database_uri)
    with statements.recorded():
        for name in parameters_of(endpoint):
            for payload in PAYLOADS:
                for as_admin in (False, True):
                    query = urlencode({name: payload})
                    answer = await asked(marketplace, endpoint, query, as_admin=as_admin)
                    refused = (422, "invalid") if name != "cursor" else (400, "invalid-cursor")
                    if name == "q" and answer.status_code == 200:
                        assert "$argon2" not in answer.text
                    else:
                        assert (answer.status_code, slug(answer)) == refused, (name, payload)
    assert_only_text(statements)
    assert await stored(database_uri) == before


@pytest.mark.parametrize("endpoint", LISTS, ids=name_of)
async def test_a_parameter_that_came_well_is_not_spoilt_by_another_one(
    endpoint: Endpoint, marketplace: Marketplace, statements: Statements, database_uri: str
) -> None:
    """After a good value, between good ones, and as the name of a parameter."""
    before = await stored(database_uri)
    with statements.recorded():
        for payload in PAYLOADS:
            for query in (
                urlencode([("limit", "5"), (payload, "1")]),
                urlencode([("skill", "1"), ("skill", payload), ("skill", "2")]),
                urlencode([("sort", "created_at"), ("sort", payload)]),
            ):
                answer = await asked(marketplace, endpoint, query)
                assert (answer.status_code, slug(answer)) == (422, "invalid"), query
    assert_only_text(statements)
    assert await stored(database_uri) == before


@pytest.mark.parametrize("endpoint", PAGED, ids=name_of)
async def test_a_cursor_holds_nothing_that_we_did_not_sign(
    endpoint: Endpoint, marketplace: Marketplace, statements: Statements
) -> None:
    with statements.recorded():
        for payload in PAYLOADS:
            for said in ([payload, 1], [1, payload], {"sort": payload}, payload):
                raw = bytes(16) + json.dumps(said).encode()
                cursor = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
                answer = await asked(marketplace, endpoint, f"cursor={cursor}")
                assert (answer.status_code, slug(answer)) == (400, "invalid-cursor")
    assert_only_text(statements)


@pytest.mark.parametrize("endpoint", WITH_IDS, ids=name_of)
async def test_a_path_has_ids_in_it_and_nothing_else(
    endpoint: Endpoint, marketplace: Marketplace, statements: Statements, database_uri: str
) -> None:
    before = await stored(database_uri)
    client, person = marketplace.client.client, marketplace.caller_of(endpoint)
    with statements.recorded():
        for payload in (*PAYLOADS, *WILDCARDS, "1 ", "+1", "1.0", "0x1", "\u0661", "1\x00", "1%00"):
            values = dict.fromkeys(("id", "name", "slug"), quote(payload, safe=""))
            path = endpoint.route.format(**values).encode()
            url = httpx.URL("http://mercenary", raw_path=path)
            answer = await client.request(endpoint.method, url, headers=headers_of(person))
            assert (answer.status_code, slug(answer)) == (404, "not-found"), payload
    assert_only_text(statements)
    assert await stored(database_uri) == before


@pytest.mark.parametrize("endpoint", WITH_BODIES, ids=name_of)
async def test_a_text_in_a_body_is_stored_as_it_is_or_refused(
    endpoint: Endpoint, marketplace: Marketplace, statements: Statements, database_uri: str
) -> None:
    example = example_of(Signature(endpoint).body)
    if isinstance(example, list):
        bodies = [[*example, {**example[0], "skill_id": payload}] for payload in PAYLOADS]
        given: list[tuple[str, str, Any]] = [("", "", body) for body in bodies]
    else:
        given = [
            (name, payload, example | {name: payload}) for name in example for payload in PAYLOADS
        ]
    before = {table: len(rows) for table, rows in (await stored(database_uri)).items()}
    client, person = marketplace.client.client, marketplace.caller_of(endpoint)
    written = 0
    with statements.recorded():
        for name, payload, body in given:
            answer = await client.request(
                endpoint.method,
                marketplace.path_of(endpoint),
                json=body,
                headers=headers_of(person),
            )
            assert answer.status_code in (200, 201, 204, 401, 409, 422), (
                name,
                payload,
                answer.text,
            )
            written += answer.is_success
            if answer.status_code in (200, 201) and name in answer.json():
                # Of a skill's name each white space is made one.
                assert answer.json()[name].split() == payload.split()
    assert_only_text(statements)
    after = {table: len(rows) for table, rows in (await stored(database_uri)).items()}
    for table in after:
        assert before[table] <= after[table] <= before[table] + 2 * written


async def test_a_header_is_text_or_refused(
    marketplace: Marketplace, statements: Statements, database_uri: str
) -> None:
    before = await stored(database_uri)
    person = marketplace.freelancer
    with statements.recorded():
        for payload in PAYLOADS:
            if not payload.isascii() or not payload.isprintable():
                continue
            for name in ("X-Request-Id", "If-None-Match", "Origin", "Accept", "traceparent"):
                answer = await person.get("/users/me", headers={name: payload})
                assert answer.status_code in (200, 406), (name, payload)
            for name in ("Idempotency-Key", "If-Match"):
                headers = {name: payload}
                answer = await person.request("POST", "/projects", headers=headers, json={})
                assert (answer.status_code, slug(answer)) == (403, "forbidden")
                path = f"/proposals/{marketplace.proposal['id']}"
                answer = await person.request("PATCH", path, headers=headers, json={"bid": "0"})
                assert answer.status_code in (412, 422), (name, payload)
            answer = await person.client.get(
                "/api/v1/users/me", headers={"Authorization": f"Bearer {payload}"}
            )
            assert (answer.status_code, slug(answer)) == (401, "unauthorized")
    assert_only_text(statements)
    assert await stored(database_uri) == before


@pytest.mark.parametrize("wildcard", WILDCARDS)
async def test_a_wildcard_stands_for_itself_alone(marketplace: Marketplace, wildcard: str) -> None:
    client = marketplace.client.client
    for path in ("/api/v1/users", "/api/v1/projects"):
        answer = await client.get(path, params={"q": wildcard})
        assert (answer.status_code, answer.json()["items"]) == (200, [])
    added = await marketplace.admin.post("/skills", {"name": f"{wildcard}b"})
    assert added.status_code == 201
    answer = await client.get("/api/v1/skills", params={"q": wildcard})
    names = [skill["name"] for skill in answer.json()["items"]]
    assert f"{wildcard}b" in names
    assert [name for name in names if name.startswith("Skill ")] == []
