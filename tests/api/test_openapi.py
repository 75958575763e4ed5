"""The OpenAPI document: valid, complete, and true to what is served."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

from mercenary import __version__
from mercenary.app import ENDPOINTS
from mercenary.errors import PROBLEMS, Overloaded
from mercenary.http.decoding import BodyDecoder
from mercenary.http.endpoint import UNLIMITED, Endpoint
from mercenary.http.fields import resource_of
from mercenary.http.invocation import Signature
from mercenary.http.openapi import document
from mercenary.http.openapi.answers import problems_of
from tests.factories import new_project, post_project, sign_up

DOCUMENT: dict[str, Any] = msgspec.json.decode(
    msgspec.json.encode(document(ENDPOINTS, version=__version__))
)
COMPONENTS = DOCUMENT["components"]
# Shared caches, limits and conditional requests bring theirs when they come.
ALWAYS = {
    "X-Request-Id",
    "Content-Security-Policy",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "RateLimit-Policy",
    "RateLimit",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
}
OWN_HEADERS = {
    "401": "WWW-Authenticate",
    "405": "Allow",
    "429": "Retry-After",
    "503": "Retry-After",
}


def operation_of(endpoint: Endpoint) -> dict[str, Any]:
    """What the document says of an endpoint."""
    operation: dict[str, Any] = DOCUMENT["paths"][endpoint.route][endpoint.method.lower()]
    return operation


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, looked up where it is only a reference."""
    if "$ref" not in value:
        return value
    _, kind, name = value["$ref"].removeprefix("#/").split("/")
    part: dict[str, Any] = COMPONENTS[kind][name]
    return part


def validator_of(schema: dict[str, Any]) -> Draft202012Validator:
    """Checks values by a schema of the document, formats included."""
    whole = schema | {"components": COMPONENTS}
    return Draft202012Validator(whole, format_checker=FormatChecker())


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each body and answer, with where it stands."""
    for endpoint in ENDPOINTS:
        operation = operation_of(endpoint)
        if "requestBody" in operation:
            for media_type, content in operation["requestBody"]["content"].items():
                yield f"{endpoint.name} body {media_type}", content
        for status, answer in operation["responses"].items():
            for media_type, content in resolved(answer).get("content", {}).items():
                yield f"{endpoint.name} {status} {media_type}", content


CONTENTS = dict(contents())
# All but pages and files, and the document, which would be its own example.
SHOWN = [place for place in CONTENTS if "json" in place and "show_openapi 200" not in place]
every_endpoint = pytest.mark.parametrize(
    "endpoint", ENDPOINTS, ids=[endpoint.name for endpoint in ENDPOINTS]
)


def test_the_document_is_valid_openapi() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


async def test_the_document_is_served(client: httpx.AsyncClient) -> None:
    answer = await client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == DOCUMENT


def test_operation_ids_are_unique() -> None:
    names = [endpoint.name for endpoint in ENDPOINTS]
    assert sorted(names) == sorted(set(names))


@every_endpoint
def test_an_operation_is_described(endpoint: Endpoint) -> None:
    operation = operation_of(endpoint)
    assert operation["operationId"] == endpoint.name
    assert operation["summary"]
    assert operation["description"]
    tags = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert all(tags[tag] for tag in operation["tags"])


@every_endpoint
def test_an_operation_says_who_may_call(endpoint: Endpoint) -> None:
    needs_token = operation_of(endpoint)["security"] == [{"bearerAuth": []}]
    assert needs_token == (not endpoint.access.guests)


@every_endpoint
def test_an_operation_lists_every_problem(endpoint: Endpoint) -> None:
    answers = operation_of(endpoint)["responses"]
    for problem in problems_of(endpoint, Signature(endpoint)):
        answer = resolved(answers[str(problem.status)])
        example = answer["content"]["application/problem+json"]["examples"][problem.slug]["value"]
        assert (example["status"], example["title"]) == (problem.status, problem.title)


@every_endpoint
def test_what_is_declared_or_implied_is_among_the_problems(endpoint: Endpoint) -> None:
    statuses = set(operation_of(endpoint)["responses"])
    assert statuses >= {"400", "401", "405", "422", "500"}
    assert statuses >= {str(problem.status) for problem in endpoint.problems}
    assert ("403" in statuses) >= (endpoint.access.roles is not None)
    assert ("404" in statuses) >= ("{" in endpoint.route)
    if Signature(endpoint).body is not None:
        assert statuses >= {"413", "415"}
    assert ("429" in statuses) == (endpoint.rate is not UNLIMITED)
    if endpoint.base:
        assert statuses >= {"503", "504"}


@every_endpoint
def test_an_answer_lists_its_headers(endpoint: Endpoint) -> None:
    operation = operation_of(endpoint)
    for status, reference in operation["responses"].items():
        answer = resolved(reference)
        headers = {name for name in answer["headers"] if resolved(answer["headers"][name])}
        assert headers >= ALWAYS
        is_problem = "application/problem+json" in answer.get("content", {})
        assert OWN_HEADERS.get(status) in headers or not is_problem or status not in OWN_HEADERS
        assert ("Location" in headers) == (status == "201")
        is_write = endpoint.method != "GET" and status.startswith("2")
        assert ("X-Consistency-Token" in headers) == is_write


@every_endpoint
def test_every_parameter_has_a_schema_and_says_what_it_is(endpoint: Endpoint) -> None:
    parameters = {each["name"]: each for each in operation_of(endpoint).get("parameters", [])}
    signature = Signature(endpoint)
    headers = {name for name, each in parameters.items() if each["in"] == "header"}
    assert headers == {
        *(["Idempotency-Key"] if endpoint.method == "POST" else []),
        *(["If-Match"] if endpoint.method in ("PUT", "PATCH", "DELETE") else []),
        *(["If-None-Match"] if endpoint.method == "GET" and signature.has_tag else []),
        *(["X-Consistency-Token"] if endpoint.cache.public else []),
    }
    asked = {*signature.path, *signature.query.__struct_encode_fields__}
    assert set(parameters) - headers == asked
    for parameter in parameters.values():
        Draft202012Validator.check_schema(parameter["schema"])
        assert {"type", "anyOf"} & set(parameter["schema"])
        says = {"description", "enum"} & {*parameter, *parameter["schema"]}
        assert says or parameter["name"] == "client_id"


@pytest.mark.parametrize("place", SHOWN)
def test_examples_are_true_to_their_schemas(place: str) -> None:
    content = CONTENTS[place]
    given = [each["value"] for each in content.get("examples", {}).values()]
    given += [content["example"]] if "example" in content else []
    assert given
    for example in given:
        errors = validator_of(content["schema"]).iter_errors(example)
        assert [f"{error.json_path}: {error.message}" for error in errors] == []


@pytest.mark.parametrize(
    "endpoint", [each for each in ENDPOINTS if Signature(each).body is not None]
)
def test_examples_of_bodies_are_taken(endpoint: Endpoint) -> None:
    """Our own decoder agrees with the schema on what a caller would copy first."""
    body = Signature(endpoint).body
    example = operation_of(endpoint)["requestBody"]["content"]["application/json"]["example"]
    assert BodyDecoder(body, 32).decode(msgspec.json.encode(example)) is not None


def test_examples_show_every_field_of_an_answer() -> None:
    for place, content in CONTENTS.items():
        schema = resolved(content["schema"])
        if " 2" in place and "example" in content and "properties" in schema:
            assert set(content["example"]) == set(schema["properties"]), place


def test_types_are_as_the_wire_has_them() -> None:
    project = COMPONENTS["schemas"]["Project"]["properties"]
    assert project["budget"]["type"] == "string"
    assert project["budget"]["pattern"] == r"^\d+\.\d{2}$"
    assert (project["id"]["type"], project["id"]["format"]) == ("integer", "int64")
    assert project["skill_ids"]["items"]["format"] == "int64"
    assert project["created_at"] == {"type": "string", "format": "date-time"}
    assert project["status"]["type"] == "string"
    rate = COMPONENTS["schemas"]["User"]["properties"]["hourly_rate"]["anyOf"]
    assert [choice["type"] for choice in rate] == ["string", "null"]


def test_what_is_left_out_of_a_problem_is_never_null() -> None:
    problem = COMPONENTS["schemas"]["Problem"]
    assert problem["required"] == ["type", "title", "status", "instance"]
    assert problem["properties"]["detail"]["type"] == "string"


def test_unknown_fields_of_bodies_are_refused_by_their_schemas() -> None:
    assert COMPONENTS["schemas"]["NewProject"]["additionalProperties"] is False
    assert not validator_of(COMPONENTS["schemas"]["NewProject"]).is_valid(new_project(colour="x"))


async def test_real_answers_are_true_to_the_document(client: httpx.AsyncClient) -> None:
    ada = await sign_up(client)
    project = await post_project(ada)
    await post_project(ada)
    for path, route in {
        "/api/v1/projects?limit=1": "/api/v1/projects",
        "/api/v1/projects?page=1&limit=1&fields=title,id&include=total": "/api/v1/projects",
        "/api/v1/projects?include=facets,total&limit=1": "/api/v1/projects",
        "/api/v1/users?include=facets&fields=id": "/api/v1/users",
        "/api/v1/projects?page=501": "/api/v1/projects",
        f"/api/v1/projects/{project['id']}": "/api/v1/projects/{id}",
        "/api/v1/projects/9223372036854775807": "/api/v1/projects/{id}",
        "/api/v1/projects?limit=0&x=1": "/api/v1/projects",
        "/api/v1/projects?cursor=x": "/api/v1/projects",
        f"/api/v1/users/{ada.id}": "/api/v1/users/{id}",
        "/api/v1/users/me": "/api/v1/users/me",
        "/api/v1/users": "/api/v1/users",
        "/api/v1/skills": "/api/v1/skills",
        "/livez": "/livez",
        "/readyz": "/readyz",
        "/health": "/health",
    }.items():
        assert_described(await client.get(path), DOCUMENT["paths"][route]["get"])
    taken = await client.post("/api/v1/auth/register", json=ada.user)
    assert_described(taken, DOCUMENT["paths"]["/api/v1/auth/register"]["post"])


def assert_described(answer: httpx.Response, operation: dict[str, Any]) -> None:
    """The answer's status, headers, media type and body are those of the document."""
    described = resolved(operation["responses"][str(answer.status_code)])
    for name, reference in described["headers"].items():
        header = resolved(reference)
        assert name in answer.headers or not header["required"], (answer.url, name)
    content = described["content"][answer.headers["content-type"]]
    errors = validator_of(content["schema"]).iter_errors(answer.json())
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


@every_endpoint
def test_what_can_be_cut_down_names_its_fields_and_requires_none(endpoint: Endpoint) -> None:
    parameters = {each["name"]: each for each in operation_of(endpoint).get("parameters", [])}
    resource = resource_of(Signature(endpoint).answer)
    assert ("fields" in parameters) == (resource is not None)
    if resource is not None:
        fields = parameters["fields"]
        assert fields["schema"]["items"]["enum"] == list(resource.__struct_fields__)
        assert (fields["style"], fields["explode"]) == ("form", False)
        assert "required" not in COMPONENTS["schemas"][resource.__name__]


def test_every_problem_has_a_page_in_the_document() -> None:
    """Each kind that the code knows is implied or declared somewhere."""
    described = {
        problem for endpoint in ENDPOINTS for problem in problems_of(endpoint, Signature(endpoint))
    }
    assert set(PROBLEMS) - described <= {Overloaded}


def test_money_in_examples_has_two_places() -> None:
    money = re.compile(COMPONENTS["schemas"]["Project"]["properties"]["budget"]["pattern"])
    example = COMPONENTS["schemas"]["Project"]["properties"]["budget"]["examples"][0]
    assert money.fullmatch(example)
    assert Decimal(example) > 0
