"""The declaration of an endpoint.

    @endpoint("POST", "/projects", access=role("client"), rate=STANDARD, idempotent=True)
    async def create_project(caller: Caller, body: NewProject) -> Created[Project]: ...

A handler takes any of `caller`, `body` (a Struct or an annotated list of them, JSON), `query` (a
Struct, the parameters), `fields` (the names that the answer's resource is cut down to, where it is
one), `if_match` (the states that may be changed), `address` (where the request comes from) and the
path's own parameters by name; its return annotation says the status and the shape of the answer.
Whoever reads a feature's `endpoints.py` knows everything a caller may rely on.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum, IntEnum
from types import ModuleType
from typing import Any, ClassVar, Final, Generic, Literal, Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from mercenary.db.counts import Facets
from mercenary.errors import ProblemError
from mercenary.http.access import Access
from mercenary.http.wire import Timestamp

T = TypeVar("T")
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Handler = Callable[..., Awaitable[Any]]

BASE_PATH = "/api/v1"


class Rate(Enum):
    """The limit that calls of an endpoint count against."""

    UNLIMITED = "unlimited"
    STANDARD = "standard"
    SENSITIVE = "sensitive"


UNLIMITED, STANDARD, SENSITIVE = Rate.UNLIMITED, Rate.STANDARD, Rate.SENSITIVE


class Criticality(IntEnum):
    """Who is served while not all can be: of a busy worker's callers, the first of these last.

    Derived where an endpoint doesn't declare it: GET reads, and searches where it is given a `q`;
    anything else writes, signing in among it. Nothing is ever refused that no rate limits.
    """

    WRITE = 0
    READ = 1
    SEARCH = 2


class CachePolicy(msgspec.Struct, frozen=True):
    """Whether an answer may be shared between callers, and by what tag it is forgotten.

    `apart` tells by the query and the user's id who is answered differently from a guest.
    """

    public: bool = False
    tag: str | None = None
    apart: Callable[[Any, int], bool] | None = None


OWN = CachePolicy()


def shared(*, tag: str, apart: Callable[[Any, int], bool] | None = None) -> CachePolicy:
    """The same bytes for every caller: those that a guest gets.

    `tag` names what they show, with the path's parameters. Admins always get an answer of their
    own, and so do users for whose id and query `apart` is true.
    """
    return CachePolicy(public=True, tag=tag, apart=apart)


class Resource(Protocol):
    """What a client can come back to: it has an address below the base path, and an id in it."""

    address: ClassVar[str]

    @property
    def id(self) -> int:
        """The id that stands in the address."""


R = TypeVar("R", bound=Resource)


class Created(msgspec.Struct, Generic[R], frozen=True):
    """201 with the new resource; the header `Location` says where it lives."""

    value: R

    @property
    def location(self) -> str:
        """The resource's path."""
        return BASE_PATH + self.value.address.format(id=self.value.id)


class Page(msgspec.Struct, Generic[T]):
    """One page of a list; `next_cursor` is null on the last, `total` there if it was asked for."""

    items: list[T]
    next_cursor: str | None
    total: int | UnsetType = UNSET


class FacetedPage(Page[T], Generic[T]):
    """A page of a list whose rows are counted by their values, where `facets` was asked for."""

    facets: Facets | UnsetType = UNSET


class RefreshedPage(Page[T], Generic[T], kw_only=True):
    """A page of a list that is gathered now and then: as it was at that time, or a little later."""

    refreshed_at: Timestamp


PAGES: Final = (Page, FacetedPage, RefreshedPage)
"""What a page's type can come from."""


class Content(msgspec.Struct, frozen=True):
    """An answer that is bytes already: a page, a document, a status of its own.

    With a `tag` (`ETag`) it is sent only to callers who don't have it. `codings` are its bytes as
    they were encoded before, by content coding.
    """

    body: bytes
    media_type: str = "application/json"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    tag: bytes | None = None
    codings: Mapping[bytes, bytes] = {}


class Sends(msgspec.Struct, frozen=True):
    """What OpenAPI is told of one `Content`: `-> Annotated[Content, Sends("text/html")]`.

    `body` is the type behind bytes that are JSON; `headers` names those that are sent besides;
    `example` replaces the one of the type.
    """

    media_type: str = "application/json"
    status: int = 200
    body: Any = None
    headers: tuple[str, ...] = ()
    description: str = "Success."
    example: Any = None


class Endpoint(msgspec.Struct, frozen=True, eq=False):
    """Everything declared about one method of one path."""

    method: Method
    path: str
    handler: Handler
    access: Access
    rate: Rate
    cache: CachePolicy
    idempotent: bool
    problems: tuple[type[ProblemError], ...]
    base: str
    criticality: Criticality | None

    @property
    def name(self) -> str:
        """The handler's name: the operation's id in OpenAPI."""
        return str(self.handler.__name__)

    @property
    def route(self) -> str:
        """The whole path template, as metrics and documents name it."""
        return self.base + self.path

    @property
    def description(self) -> str:
        """What the handler's docstring tells the callers."""
        return inspect.getdoc(self.handler) or ""


def endpoint(
    method: Method,
    path: str,
    *,
    access: Access,
    rate: Rate = STANDARD,
    cache: CachePolicy = OWN,
    idempotent: bool = False,
    problems: tuple[type[ProblemError], ...] = (),
    base: str = BASE_PATH,
    criticality: Criticality | None = None,
) -> Callable[[Handler], Endpoint]:
    """Declare what the decorated handler answers.

    `problems` are those of the handler's own, beside what its parameters already imply.
    `idempotent` accepts an Idempotency-Key; the handler then makes one write, and what that write
    gives is the answer. `criticality` is declared where the method doesn't tell it.
    """

    def declare(handler: Handler) -> Endpoint:
        return Endpoint(
            method, path, handler, access, rate, cache, idempotent, problems, base, criticality
        )

    return declare


def declared_in(modules: Iterable[ModuleType]) -> list[Endpoint]:
    """Every endpoint of these modules, in the order of declaration."""
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Endpoint)
    ]
