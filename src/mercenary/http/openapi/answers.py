"""What comes back: the answers of success, the problems that a declaration implies, the headers."""

from collections.abc import Iterable
from typing import Any, get_origin

import msgspec

from mercenary.errors import (
    BadRequest,
    DeadlineExceeded,
    Forbidden,
    HeaderTooLarge,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    Invalid,
    InvalidCursor,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    Overloaded,
    PageTooDeep,
    PayloadTooLarge,
    PreconditionFailed,
    ProblemError,
    RequestTimeout,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    UriTooLong,
)
from mercenary.http.endpoint import BASE_PATH, PAGES, UNLIMITED, Created, Endpoint, Sends
from mercenary.http.invocation import Signature
from mercenary.http.openapi.schemas import REF, Schemas, example_of
from mercenary.http.problems import MEDIA_TYPE, Problem, problem_body, statuses

_JSON = "application/json"
_REQUEST_ID = "5f0c1d8a2b7e4c93-0000002a"
CONSISTENCY_TOKEN = "00000001-00000000016b3748"  # noqa: S105 - no secret
_DESCRIPTIONS = {200: "Success.", 201: "Created.", 204: "Done. There is no body."}

# On every answer, whatever became of the request.
_ALWAYS = (
    "X-Request-Id",
    "Vary",
    "Content-Encoding",
    "Content-Security-Policy",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "Referrer-Policy",
    "Permissions-Policy",
    "Strict-Transport-Security",
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "RateLimit-Policy",
    "RateLimit",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)
_OF_PROBLEMS = {
    Unauthorized: "WWW-Authenticate",
    MethodNotAllowed: "Allow",
    PreconditionFailed: "ETag",
    UnsupportedMediaType: "Accept-Encoding",
    TooManyRequests: "Retry-After",
    Overloaded: "Retry-After",
}


def _header(description: str, example: str | int, *, required: bool = True) -> dict[str, Any]:
    kind = "integer" if isinstance(example, int) else "string"
    schema = {"type": kind, "minimum": 0} if kind == "integer" else {"type": kind}
    return {
        "description": description,
        "required": required,
        "schema": schema,
        "example": example,
    }


HEADERS = {
    "X-Request-Id": _header(
        "The request's name in logs and problems: the caller's own where it sent one of 8 to 128 "
        "letters, digits or `._~+/=-`.",
        _REQUEST_ID,
    ),
    "Content-Security-Policy": _header(
        "What a browser may load for this answer.", "default-src 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": _header("The type is as it is said.", "nosniff"),
    "X-Frame-Options": _header("Not to be framed.", "DENY"),
    "Referrer-Policy": _header("Links from here don't say where from.", "no-referrer"),
    "Permissions-Policy": _header(
        "What a page may not use.", "camera=(), geolocation=(), microphone=()"
    ),
    "Strict-Transport-Security": _header(
        "Come over TLS only; sent over TLS only.", "max-age=31536000", required=False
    ),
    "Access-Control-Allow-Origin": _header(
        "The page's origin, where the settings allow it to call.",
        "https://app.example.com",
        required=False,
    ),
    "Access-Control-Expose-Headers": _header(
        "What a page of an allowed origin may read.", "ETag, Link, Location", required=False
    ),
    "RateLimit-Policy": _header(
        "The limits that the request counts against: requests (`q`) in each window of `w` seconds. "
        "Left out, with the other four, where nothing is counted, and where a request is refused "
        "before it is known who calls.",
        '"user";q=10000;w=3600, "sensitive";q=100;w=60',
        required=False,
    ),
    "RateLimit": _header(
        "What is left of each limit (`r`), and in how many seconds (`t`) there is all of it again.",
        '"user";r=9999;t=1200, "sensitive";r=99;t=12',
        required=False,
    ),
    "X-RateLimit-Limit": _header(
        "Requests in a window, by the limit of which the least is left.", 100, required=False
    ),
    "X-RateLimit-Remaining": _header("What is left of it.", 99, required=False),
    "X-RateLimit-Reset": _header(
        "When its window ends, in seconds since 1970.", 1_790_000_000, required=False
    ),
    "Cache-Control": _header(
        "Who may keep the answer, and for how long.",
        "public, max-age=0, s-maxage=60, stale-while-revalidate=30",
    ),
    "Surrogate-Key": _header(
        "What the answer shows, for the CDN that keeps it: lists and resources, separated by "
        "spaces. Sent to guests.",
        "projects project:17 project:9",
        required=False,
    ),
    "Cache-Tag": _header(
        "The same with commas, as other CDNs read it.",
        "projects,project:17,project:9",
        required=False,
    ),
    "Vary": _header(
        "The request's headers that the answer depends on.", "Accept-Encoding, Authorization"
    ),
    "Content-Encoding": _header(
        "The answer's coding, of those in the request's Accept-Encoding: zstd, br or gzip. Small "
        "answers have none.",
        "zstd",
        required=False,
    ),
    "ETag": _header(
        "The state of the resource, for If-None-Match and If-Match: its id and version, or a "
        "digest where there is no version.",
        '"17-3"',
    ),
    "Idempotency-Replayed": _header(
        "Sent where the same request was answered before under its Idempotency-Key.",
        "true",
        required=False,
    ),
    "X-Consistency-Token": _header(
        "For a GET that shall know of this write, on whatever host. Sent where replicas answer "
        "reads.",
        CONSISTENCY_TOKEN,
        required=False,
    ),
    "Location": _header("Where the new resource lives.", "/api/v1/projects/17"),
    "Link": _header(
        "The next page (RFC 8288); left out on the last.",
        '</api/v1/projects?limit=20&cursor=2p1Ff3bD5mQx>; rel="next"',
        required=False,
    ),
    "WWW-Authenticate": _header("How to say who calls (RFC 6750).", "Bearer"),
    "Allow": _header("The methods that this path has.", "GET, HEAD, OPTIONS"),
    "Accept-Encoding": _header(
        "How a request's body may be encoded, where it was (RFC 9110, section 15.5.16).",
        "identity",
        required=False,
    ),
    "Retry-After": _header("Seconds to wait before trying again.", 1),
}


class Answers:
    """The answers of every endpoint; problems that many share are components."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self.components: dict[str, Any] = {}

    def of(self, endpoint: Endpoint, signature: Signature) -> dict[str, Any]:
        """Everything that may come back from an endpoint, by status."""
        answers = {}
        for status, problems in statuses(problems_of(endpoint, signature)).items():
            answers[str(status)] = self._problem(problems)
        if signature.sends:
            answers |= self._contents(signature.sends)
        else:
            answers[str(signature.status)] = self._success(endpoint, signature)
        if endpoint.method == "GET" and signature.has_tag:
            answers["304"] = _answer(
                "The caller has this already, as If-None-Match says. There is no body.",
                ["Cache-Control", *_tags(endpoint), "ETag"],
            )
        return dict(sorted(answers.items()))

    def _success(self, endpoint: Endpoint, signature: Signature) -> dict[str, Any]:
        headers = ["Cache-Control", *_tags(endpoint)]
        headers += ["Location"] if get_origin(signature.answer) is Created else []
        headers += ["Link"] if get_origin(signature.resource) in PAGES else []
        headers += ["ETag"] if endpoint.method == "GET" or signature.has_version else []
        headers += ["Idempotency-Replayed"] if endpoint.idempotent else []
        headers += ["X-Consistency-Token"] if endpoint.method != "GET" else []
        answer = _answer(_DESCRIPTIONS[signature.status], headers)
        if signature.resource is not None:
            answer["content"] = {_JSON: self._json(signature.resource)}
        return answer

    def _contents(self, sends: Iterable[Sends]) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        for each in sends:
            answer = answers.setdefault(
                str(each.status), _answer(each.description, each.headers) | {"content": {}}
            )
            if each.body is not None:
                content = self._json(each.body)
            else:
                content = {"schema": {"type": "object" if each.media_type == _JSON else "string"}}
            if each.example is not None:
                content["example"] = each.example
            answer["content"][each.media_type] = content
        return answers

    def _json(self, type_: Any) -> dict[str, Any]:
        return {"schema": self._schemas.of(type_), "example": example_of(type_)}

    def _problem(self, problems: list[type[ProblemError]]) -> dict[str, Any]:
        name = "Or".join(problem.__name__ for problem in problems)
        if name not in self.components:
            headers = ["Cache-Control"]
            headers += [
                header
                for kind, header in _OF_PROBLEMS.items()
                if any(issubclass(problem, kind) for problem in problems)
            ]
            answer = _answer(". ".join(problem.title for problem in problems) + ".", headers)
            answer["content"] = {
                MEDIA_TYPE: {
                    "schema": {"$ref": REF.format(name=Problem.__name__)},
                    "examples": {
                        problem.slug: {"summary": problem.title, "value": _example(problem)}
                        for problem in problems
                    },
                }
            }
            self.components[name] = answer
        return {"$ref": f"#/components/responses/{name}"}


def _tags(endpoint: Endpoint) -> list[str]:
    return ["Surrogate-Key", "Cache-Tag"] if endpoint.cache.public else []


def problems_of(endpoint: Endpoint, signature: Signature) -> set[type[ProblemError]]:
    """What may go wrong: what is declared, and what its access, parameters and body imply."""
    # Whatever is asked: a wrong token, an unknown parameter, another method, no form or coding
    # that the caller takes, a head that is too large, a fault of our own.
    problems = {
        BadRequest,
        Unauthorized,
        MethodNotAllowed,
        NotAcceptable,
        UriTooLong,
        Invalid,
        HeaderTooLarge,
        ProblemError,
    }
    problems.update(endpoint.problems)
    if endpoint.access.roles is not None:
        problems.add(Forbidden)
    if signature.path:
        problems.add(NotFound)
    if signature.body is not None:
        problems |= {RequestTimeout, PayloadTooLarge, UnsupportedMediaType}
    if endpoint.idempotent:
        problems |= {IdempotencyKeyInUse, IdempotencyKeyReused}
    if signature.takes_if_match:
        problems.add(PreconditionFailed)
    if "cursor" in signature.query.__struct_fields__:
        problems |= {InvalidCursor, PageTooDeep}
    if endpoint.rate is not UNLIMITED:
        problems.add(TooManyRequests)
    if endpoint.base == BASE_PATH:  # the others ask no database
        problems |= {Overloaded, Unavailable, DeadlineExceeded}
    return problems


def _answer(description: str, headers: Iterable[str]) -> dict[str, Any]:
    references = {
        name: {"$ref": f"#/components/headers/{name}"} for name in sorted({*_ALWAYS, *headers})
    }
    return {"description": description, "headers": references}


def _example(problem: type[ProblemError]) -> Any:
    error: ProblemError
    if problem is Invalid:
        error = Invalid.at("/title", "Expected at least 3 characters")
    elif problem is MethodNotAllowed:
        error = MethodNotAllowed(["GET", "HEAD", "OPTIONS"])
    elif problem is NotFound:
        error = NotFound("project", 17)
    elif problem is PreconditionFailed:
        error = PreconditionFailed('"17-3"')
    else:
        error = problem()
    return msgspec.json.decode(problem_body(error, _REQUEST_ID))
