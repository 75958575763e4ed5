"""Fields that nobody may set, in every body there is: refused by name, and nothing changes."""

import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import httpx
import pytest

from mercenary.app import ENDPOINTS
from mercenary.db.metadata import metadata
from mercenary.http.endpoint import Endpoint, Page
from mercenary.http.faults import bare
from mercenary.http.invocation import Signature
from mercenary.http.openapi.schemas import example_of
from tests.api.marketplace import Marketplace, headers_of, open_marketplace, stored
from tests.api.test_routes import name_of, slug

# Names by which frameworks of other languages were tricked, and ours spelt another way.
TRICKS = (
    *("__proto__", "constructor", "prototype", "__class__", "__init__", "$set", "_method"),
    *("Role", "ROLE", "role ", " role", "user.role", "user[role]", "role[]", "isActive"),
    *("is_admin", "admin", "permissions", "scope", "owner_id", "user_id", "body", "data", ""),
)
BODIES = [endpoint for endpoint in ENDPOINTS if Signature(endpoint).body is not None]
every_body = pytest.mark.parametrize("endpoint", BODIES, ids=name_of)


def resources() -> Iterator[Any]:
    """The types of everything that is answered with."""
    for endpoint in ENDPOINTS:
        resource = Signature(endpoint).resource
        if resource is not None:
            yield get_args(resource)[0] if get_origin(resource) is Page else resource


def every_field() -> dict[str, Any]:
    """Each field that an answer or a table has, with a value that would do where it is taken."""
    columns = {column for table in metadata.tables.values() for column in table.columns.keys()}  # noqa: SIM118
    fields: dict[str, Any] = dict.fromkeys([*sorted(columns), *TRICKS], True)
    for resource in resources():
        fields |= example_of(resource)
    return fields | {"role": "admin", "is_active": False, "version": 999, "status": "accepted"}


def own_fields(endpoint: Endpoint) -> set[str]:
    """What the endpoint's body, or each item of it, may hold."""
    body = bare(Signature(endpoint).body)
    item = get_args(body)[0] if get_origin(body) is list else body
    return set(item.__struct_fields__)


@pytest.fixture(scope="module")
async def marketplace(client: httpx.AsyncClient, database_uri: str) -> Marketplace:
    return await open_marketplace(client, database_uri)


async def send(
    client: httpx.AsyncClient,
    marketplace: Marketplace,
    endpoint: Endpoint,
    body: object,
    query: str = "",
) -> httpx.Response:
    """Send a body to where it would be taken, in the name of somebody who may."""
    headers = headers_of(marketplace.caller_of(endpoint)) | {"Content-Type": "application/json"}
    path = marketplace.path_of(endpoint) + query
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.request(endpoint.method, path, headers=headers, content=content)


def test_what_is_injected_is_all_that_there_is() -> None:
    assert len(BODIES) >= 10
    named = {"id", "role", "is_active", "version", "client_id", "freelancer_id", "status", "email"}
    assert every_field().keys() >= named | {"created_at", "deactivated_at", "password_hash"}


@every_body
async def test_a_field_that_isnt_the_bodys_is_refused_by_name(
    endpoint: Endpoint, client: httpx.AsyncClient, marketplace: Marketplace, database_uri: str
) -> None:
    before = await stored(database_uri)
    example = example_of(Signature(endpoint).body)
    foreign = {name: every_field()[name] for name in every_field().keys() - own_fields(endpoint)}
    assert foreign
    for name, value in foreign.items():
        if isinstance(example, list):
            body: Any = [*example, {**example[0], "skill_id": 2, name: value}]
            pointer = f"/{len(example)}/{name}"
        else:
            body, pointer = {**example, name: value}, f"/{name}"
        answer = await send(client, marketplace, endpoint, body)
        assert (answer.status_code, slug(answer)) == (422, "invalid"), (name, answer.text)
        assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert await stored(database_uri) == before


@every_body
async def test_all_of_them_at_once_are_all_named(
    endpoint: Endpoint, client: httpx.AsyncClient, marketplace: Marketplace, database_uri: str
) -> None:
    before = await stored(database_uri)
    example = example_of(Signature(endpoint).body)
    if isinstance(example, list):
        answer = await send(client, marketplace, endpoint, [every_field() | example[0]])
    else:
        answer = await send(client, marketplace, endpoint, every_field() | example)
    assert (answer.status_code, slug(answer)) == (422, "invalid")
    named = {fault["pointer"].rpartition("/")[2] for fault in answer.json()["errors"]}
    assert named >= every_field().keys() - own_fields(endpoint)
    assert await stored(database_uri) == before


@every_body
async def test_no_field_comes_by_the_query_or_in_another_wrapping(
    endpoint: Endpoint, client: httpx.AsyncClient, marketplace: Marketplace, database_uri: str
) -> None:
    before = await stored(database_uri)
    example = example_of(Signature(endpoint).body)
    for name in ("role", "is_active", "client_id", "status", "id", "version"):
        answer = await send(client, marketplace, endpoint, example, f"?{name}=1")
        assert (answer.status_code, slug(answer)) == (422, "invalid")
    wrapped = {"items": example} if isinstance(example, list) else [example]
    for body in (wrapped, {"body": example}, json.dumps(example), None, True, 1):
        answer = await send(client, marketplace, endpoint, body)
        assert (answer.status_code, slug(answer)) == (422, "invalid")
    assert await stored(database_uri) == before


async def test_a_role_that_comes_twice_is_judged_by_what_would_be_stored(
    client: httpx.AsyncClient, marketplace: Marketplace, database_uri: str
) -> None:
    before = await stored(database_uri)
    register = next(endpoint for endpoint in BODIES if endpoint.name == "register")
    account = json.dumps(example_of(Signature(register).body))[:-1]
    for body in (account + ', "role": "admin"}', '{"role": "admin", ' + account[1:] + "}"):
        answer = await send(client, marketplace, register, body.encode())
        if answer.status_code == 201:
            assert answer.json()["role"] == "freelancer"
        else:
            assert answer.status_code == 422
            assert await stored(database_uri) == before


@every_body
async def test_without_the_foreign_field_each_body_is_in_order(
    endpoint: Endpoint, client: httpx.AsyncClient, marketplace: Marketplace
) -> None:
    """Or the refusals above would have another reason. A state may still refuse it: 401 or 409."""
    example = example_of(Signature(endpoint).body)
    answer = await send(client, marketplace, endpoint, example)
    assert answer.status_code in (200, 201, 204, 401, 409), answer.text
