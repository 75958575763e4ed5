"""One family of errors that know their HTTP status.

Raise these anywhere below the edge; the edge turns each into an RFC 9457 problem and anything
else into a 500 that tells nothing. A batch may also hand one back as the outcome of a single row.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with a request.

    `pointer` is a JSON pointer (RFC 6901) into the body, `?` and a parameter's name, or a header's.
    """

    pointer: str
    detail: str


class ProblemError(Exception):
    """The root. `slug` names the page under /problems/ that explains the error."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(
        self,
        detail: str | None = None,
        *,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})


class BadRequest(ProblemError):
    """The request can't be read at all, so nothing in it can be named."""

    status = 400
    slug = "bad-request"
    title = "The request can't be read"


class InvalidCursor(BadRequest):
    """The cursor is malformed, was tampered with, or belongs to another list."""

    slug = "invalid-cursor"
    title = "The cursor doesn't belong to this list"


class PageTooDeep(BadRequest):
    """A page by number lies further down than numbers go; a cursor leads there."""

    slug = "page-too-deep"
    title = "Pages by number don't go that deep"


class Unauthorized(ProblemError):
    """Nobody valid is calling. Carries `WWW-Authenticate` (RFC 6750)."""

    status = 401
    slug = "unauthorized"
    title = "Sign in to do this"

    def __init__(self, detail: str | None = None, *, challenge: str = "Bearer") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class Forbidden(ProblemError):
    """The caller is known and may not."""

    status = 403
    slug = "forbidden"
    title = "You may not do this"


class NotFound(ProblemError):
    """There is no such thing, or none that this caller may know of."""

    status = 404
    slug = "not-found"
    title = "There is nothing here"

    def __init__(self, kind: str | None = None, key: object = None) -> None:
        super().__init__(f"No {kind} has the id {key}." if kind else None)


class MethodNotAllowed(ProblemError):
    """The path exists; the method doesn't."""

    status = 405
    slug = "method-not-allowed"
    title = "This method isn't offered here"

    def __init__(self, allowed: Sequence[str]) -> None:
        detail = f"Use {', '.join(allowed[:-1])} or {allowed[-1]}."
        super().__init__(detail, headers={"Allow": ", ".join(allowed)})


class NotAcceptable(ProblemError):
    """The caller accepts no form in which this can be answered."""

    status = 406
    slug = "not-acceptable"
    title = "No acceptable form of this answer"


class RequestTimeout(ProblemError):
    """The body didn't arrive in time. The connection is closed."""

    status = 408
    slug = "request-timeout"
    title = "The request took too long to arrive"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Connection": "close"})


class Conflict(ProblemError):
    """The request is fine, the state of the resource isn't."""

    status = 409
    slug = "conflict"
    title = "The state of the resource doesn't allow this"


class IdempotencyKeyInUse(Conflict):
    """The request that uses the key is under way. Send this one again a little later."""

    slug = "idempotency-key-in-use"
    title = "The same request is under way"


class PreconditionFailed(ProblemError):
    """`If-Match` names a state that the resource has left; `ETag` tells the present one."""

    status = 412
    slug = "precondition-failed"
    title = "This was changed since you read it"

    def __init__(self, etag: str) -> None:
        super().__init__(headers={"ETag": etag})


class PayloadTooLarge(ProblemError):
    """The body is over the limit."""

    status = 413
    slug = "payload-too-large"
    title = "The request body is too large"


class UriTooLong(ProblemError):
    """Path and query are over the limit."""

    status = 414
    slug = "uri-too-long"
    title = "The request target is too long"


class UnsupportedMediaType(ProblemError):
    """The body isn't JSON."""

    status = 415
    slug = "unsupported-media-type"
    title = "Send JSON"


class Invalid(ProblemError):
    """The request was read and breaks rules; `faults` names each of them at once."""

    status = 422
    slug = "invalid"
    title = "The request breaks one or more rules"

    def __init__(self, faults: Sequence[Fault], detail: str | None = None) -> None:
        super().__init__(detail, faults=faults)

    @classmethod
    def at(cls, pointer: str, detail: str) -> "Invalid":
        """Name a single fault."""
        return cls([Fault(pointer, detail)])


class IdempotencyKeyReused(Invalid):
    """The idempotency key was used for another request within the last 24 hours."""

    slug = "idempotency-key-reused"
    title = "This idempotency key belongs to another request"

    def __init__(self) -> None:
        super().__init__([Fault("Idempotency-Key", "Use a new key for each new request")])


class TooManyRequests(ProblemError):
    """The caller has used up a limit. Carries `Retry-After`, the seconds until there is more."""

    status = 429
    slug = "rate-limited"
    title = "Too many requests for now"

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class HeaderTooLarge(ProblemError):
    """The header block is over the limit, in bytes or in lines."""

    status = 431
    slug = "header-too-large"
    title = "The request's header is too large"


class Overloaded(ProblemError):
    """A bounded queue is full: say no now rather than be late (503 with Retry-After, seconds)."""

    status = 503
    slug = "overloaded"
    title = "Too busy to answer in time"

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Unavailable(Overloaded):
    """Something that is needed, such as the database, is away for now."""

    slug = "unavailable"
    title = "A service that is needed is away for the moment"


class DeadlineExceeded(ProblemError):
    """The request's time is up. A write may or may not have taken place."""

    status = 504
    slug = "deadline-exceeded"
    title = "This took longer than it may"


PROBLEMS: tuple[type[ProblemError], ...] = (
    ProblemError,
    BadRequest,
    InvalidCursor,
    PageTooDeep,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    Conflict,
    IdempotencyKeyInUse,
    PreconditionFailed,
    PayloadTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    Invalid,
    IdempotencyKeyReused,
    TooManyRequests,
    HeaderTooLarge,
    Overloaded,
    Unavailable,
    DeadlineExceeded,
)
