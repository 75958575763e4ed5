"""From declarations to the document: one operation an endpoint."""

import sys
from collections.abc import Iterable
from typing import Any

from mercenary.http.decoding import repeatable_in
from mercenary.http.endpoint import Endpoint
from mercenary.http.idempotency import MAX_KEY
from mercenary.http.invocation import Signature
from mercenary.http.openapi.answers import CONSISTENCY_TOKEN, HEADERS, Answers
from mercenary.http.openapi.schemas import ID, Schemas, example_of, parameters_of
from mercenary.http.problems import Problem

_ABOUT = """
The backend of a freelance marketplace: clients post projects, freelancers bid, one is hired.

- JSON in UTF-8. Times are RFC 3339 in UTC with microseconds. Money is a decimal string with two
  places beside an ISO 4217 code; a JSON number is taken, too.
- Sign in with `POST /api/v1/auth/login` and send `Authorization: Bearer <access token>`.
- Lists come in pages: follow `next_cursor`, or the `Link` header.
- `fields=id,name` keeps just those fields of whatever is returned.
- Errors are problems (RFC 9457) that name every fault at once. A problem's `type` opens as a page.
- Every GET answers HEAD, too, and every path OPTIONS.
- Answers have an `ETag`: `If-None-Match` spares you the body of what you have, `If-Match` keeps you
  from changing what somebody changed meanwhile.
- Every POST takes an `Idempotency-Key`, under which it happens once however often it is sent.
- Where replicas answer reads, a write's answer has an `X-Consistency-Token`: a GET that sends it is
  answered by what knows of the write, on any host. Signed-in callers see their own writes without.
"""

_REQUEST_HEADERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "description": "Names this request, so that it can be sent again when no answer arrived: "
        "within 24 hours it is then answered as before and not carried out twice.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_KEY,
            "pattern": "^[\\x21-\\x7e]+$",
        },
        "example": "0f8b1c52-6f0e-4d0c-9d55-3b1f1f0c8f7a",
    },
    "If-Match": {
        "description": "Change the resource only in this state: an ETag that was sent with it.",
        "schema": {"type": "string"},
        "example": '"17-3"',
    },
    "If-None-Match": {
        "description": "The ETag of an answer that is here already; 304 says that it holds still.",
        "schema": {"type": "string"},
        "example": '"17-3"',
    },
    "X-Consistency-Token": {
        "description": "The token of a write, which whatever is answered shall know of. Of several "
        "the one that compares as the greatest knows of all.",
        "schema": {"type": "string"},
        "example": CONSISTENCY_TOKEN,
    },
}


def document(endpoints: Iterable[Endpoint], *, version: str) -> dict[str, Any]:
    """The OpenAPI document of these endpoints.

    Raises:
        TypeError: a type that goes over the wire has no example.
    """
    signatures = {endpoint: Signature(endpoint) for endpoint in endpoints}
    schemas = Schemas(_types(signatures.values()))
    answers = Answers(schemas)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint, signature in signatures.items():
        operations = paths.setdefault(endpoint.route, {})
        operations[endpoint.method.lower()] = _operation(endpoint, signature, schemas, answers)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Mercenary",
            "version": version,
            "description": _ABOUT.strip(),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The server that this document came from."}],
        "tags": _tags(signatures),
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "responses": dict(sorted(answers.components.items())),
            "headers": HEADERS,
            "securitySchemes": {
                "bearerAuth": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The `access_token` that signing in or refreshing gives.",
                }
            },
        },
    }


def _types(signatures: Iterable[Signature]) -> list[Any]:
    types: list[Any] = [Problem]
    for signature in signatures:
        types += [signature.body, signature.resource, *(each.body for each in signature.sends)]
    return [type_ for type_ in types if type_ is not None]


def _operation(
    endpoint: Endpoint, signature: Signature, schemas: Schemas, answers: Answers
) -> dict[str, Any]:
    summary, _, rest = endpoint.description.partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [_tag(endpoint)],
        "summary": " ".join(summary.split()).removesuffix("."),
        "description": "\n\n".join(part for part in (rest, _who(endpoint)) if part),
        "security": _security(endpoint, signature),
    }
    if parameters := [
        *_path_parameters(endpoint, signature),
        *_query_parameters(signature),
        *_header_parameters(endpoint, signature),
    ]:
        operation["parameters"] = parameters
    if signature.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {
                    "schema": schemas.of(signature.body),
                    "example": example_of(signature.body),
                }
            },
        }
    operation["responses"] = answers.of(endpoint, signature)
    return operation


def _who(endpoint: Endpoint) -> str:
    if endpoint.access.guests:
        return "For anyone."
    if endpoint.access.roles is None:
        return "For whoever is signed in."
    return f"For {' and '.join(sorted(endpoint.access.roles))} accounts."


def _security(endpoint: Endpoint, signature: Signature) -> list[dict[str, list[str]]]:
    if not endpoint.access.guests:
        return [{"bearerAuth": []}]
    # Where the answer may depend on the caller, a token is welcome and not needed.
    return [{}, {"bearerAuth": []}] if signature.caller else []


def _path_parameters(endpoint: Endpoint, signature: Signature) -> list[dict[str, Any]]:
    segments = endpoint.route.split("/")
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": f"The {segments[segments.index(f'{{{name}}}') - 1][:-1]}'s {name}.",
            "schema": {"type": "string"} if signature.path_types[name] is str else ID,
        }
        for name in signature.path
    ]


def _query_parameters(signature: Signature) -> list[dict[str, Any]]:
    if not signature.query.__struct_fields__:
        return []
    parameters = []
    for name, schema in parameters_of(signature.query):
        parameter = {"name": name, "in": "query", "required": False, "schema": schema}
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        if schema.get("type") == "array":
            repeated = name in repeatable_in(signature.query)
            parameter |= {"style": "form", "explode": repeated}
        parameters.append(parameter)
    return parameters


def _header_parameters(endpoint: Endpoint, signature: Signature) -> list[dict[str, Any]]:
    names = ["Idempotency-Key"] if endpoint.idempotent else []
    names += ["If-Match"] if signature.takes_if_match else []
    names += ["If-None-Match"] if endpoint.method == "GET" and signature.has_tag else []
    names += ["X-Consistency-Token"] if endpoint.cache.public else []
    return [
        {"name": name, "in": "header", "required": False, **_REQUEST_HEADERS[name]}
        for name in names
    ]


def _tag(endpoint: Endpoint) -> str:
    return endpoint.handler.__module__.split(".")[-2]


def _tags(endpoints: Iterable[Endpoint]) -> list[dict[str, str]]:
    """A tag a feature, in the order of first use, with what its package says of itself."""
    packages = {
        _tag(endpoint): endpoint.handler.__module__.rpartition(".")[0] for endpoint in endpoints
    }
    return [
        {"name": tag, "description": (sys.modules[package].__doc__ or "").strip()}
        for tag, package in packages.items()
    ]
