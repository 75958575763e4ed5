"""One endpoint, ready to be called: its declaration compiled into decoders and an encoder.

The order in which a request is judged: who calls (401, 403), the form of the answer (406), the
path's ids (404), the parameters (422), the body's type and content (415, 400, 422), the idempotency
key (422, 409). What the caller holds already is answered by 304 in the end. A body's size and pace
were judged by the edge's `Body`, which waited for it.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from starlette.types import Scope, Send

from mercenary.cache.entries import Want
from mercenary.db.idempotency import ReplayedError
from mercenary.errors import (
    NotAcceptable,
    ProblemError,
    UnsupportedMediaType,
)
from mercenary.http.access import GUEST
from mercenary.http.compression import AS_IT_IS
from mercenary.http.conditions import IfMatch, content_tag, is_known, version_tag
from mercenary.http.decoding import BodyDecoder, NoParameters, QueryDecoder, parse_id
from mercenary.http.endpoint import (
    PAGES,
    UNLIMITED,
    Content,
    Created,
    Criticality,
    Endpoint,
    Page,
    Sends,
)
from mercenary.http.fields import cut_down, fields_in, resource_of, taking_fields, variant_of
from mercenary.http.idempotency import REPLAYED, KeptAnswer, KeyedRequest, key_of
from mercenary.http.kept import CODEC, Kept
from mercenary.http.lists import next_link
from mercenary.http.responses import respond
from mercenary.http.shared_caching import NOT_KEPT, Lifetime, cache_control, tag_headers, tags_of
from mercenary.http.sharing import Shared, canonical
from mercenary.http.wire import encode_hook

_encoder = msgspec.json.Encoder(enc_hook=encode_hook)
_VARY = (b"vary", b"Accept-Encoding, Authorization")
_JSON = (b"content-type", b"application/json")


class Signature:
    """What a handler takes and gives, read from its annotations once."""

    def __init__(self, endpoint: Endpoint) -> None:
        hints = get_type_hints(endpoint.handler, include_extras=True)
        names = list(inspect.signature(endpoint.handler).parameters)
        self.path = [part[1:-1] for part in endpoint.route.split("/") if part.startswith("{")]
        self.caller = "caller" in names
        # A Struct for an object, or an annotated list of Structs; None where no body is taken.
        self.body: Any = hints.get("body")
        self.query: type[msgspec.Struct] = hints.get("query", NoParameters)
        self.takes_query = "query" in names
        self.takes_if_match = "if_match" in names
        self.takes_fields = "fields" in names
        self.takes_address = "address" in names
        self.path_types = {name: hints.get(name) for name in self.path}
        self.answer: Any = hints.get("return", type(None))
        # What is said of raw content; read by OpenAPI alone.
        self.sends: tuple[Sends, ...] = ()
        if get_origin(self.answer) is Annotated and get_args(self.answer)[0] is Content:
            self.answer, *sends = get_args(self.answer)
            self.sends = tuple(sends)
        resource = resource_of(self.answer)
        # Whether the answer can be cut down to some fields, which the query then names.
        self.has_fields = resource is not None
        if resource is not None:
            self.query = taking_fields(self.query, resource)
        known = {"caller", "address", "body", "query", "if_match", *self.path}
        stray = set(names) - known - ({"fields"} if self.has_fields else set())
        if stray or not set(self.path) <= set(names):
            raise TypeError(f"{endpoint.name}: the parameters don't fit {endpoint.route}")

    @property
    def status(self) -> int:
        """The status of success."""
        if get_origin(self.answer) is Created:
            return 201
        return 204 if self.answer is type(None) else 200

    @property
    def resource(self) -> Any:
        """The type in the answer's body, without `Created`; None for 204 and raw content."""
        if get_origin(self.answer) is Created:
            return get_args(self.answer)[0]
        return None if self.answer in (type(None), Content) else self.answer

    @property
    def has_tag(self) -> bool:
        """Whether callers who have the answer already can say so (`If-None-Match`)."""
        return self.resource is not None or any("ETag" in each.headers for each in self.sends)

    @property
    def has_version(self) -> bool:
        """Whether the answer is a resource whose state has a number."""
        return self.has_fields and get_origin(self.resource) not in PAGES


class Invocation:
    """Calls one endpoint and sends what it answers.

    `lifetime` is what shared caches are told of answers that they may keep.
    """

    def __init__(self, endpoint: Endpoint, max_depth: int, lifetime: Lifetime = NOT_KEPT) -> None:
        self.endpoint = endpoint
        self.signature = Signature(endpoint)
        self._public = lifetime.public
        body = self.signature.body
        self._body = BodyDecoder(body, max_depth) if body is not None else None
        self._query = QueryDecoder(self.signature.query)
        self._refusable = endpoint.rate is not UNLIMITED
        self._criticality, self._searches = endpoint.criticality, False
        if self._criticality is None:
            reads = endpoint.method == "GET"
            self._criticality = Criticality.READ if reads else Criticality.WRITE
            self._searches = reads and "q" in self.signature.query.__struct_fields__
        self._route = f"{endpoint.method} {endpoint.route} ".encode()
        self._kind = endpoint.path.strip("/").partition("/")[0].rstrip("s")
        self._parsers = [
            (name, self.signature.path_types[name] is not str) for name in self.signature.path
        ]
        self._has_version = self.signature.has_version
        self._encode: Callable[[Any, Scope], KeptAnswer] = (
            self._encode_content if self.signature.answer is Content else self._encode_json
        )

    @property
    def takes_body(self) -> bool:
        """Whether `scope["body"]` must be there."""
        return self._body is not None

    def criticality(self, query_string: bytes) -> Criticality | None:
        """The class that a request is in; None for one that is never refused."""
        if not self._refusable:
            return None
        # Not decoded: who hides a `q` behind percent signs is taken for a reader, which is no harm.
        if self._searches and (query_string.startswith(b"q=") or b"&q=" in query_string):
            return Criticality.SEARCH
        return self._criticality

    async def __call__(self, scope: Scope, send: Send, values: list[str]) -> None:
        """Answer one request; `values` are the raw ones of the path's parameters."""
        self.endpoint.access.check(scope["caller"])
        headers = scope["headers"]
        given, query = self._read(scope, values)
        if self.signature.takes_query:
            given["query"] = query
        self._add_circumstances(given, scope)
        body = b""
        if self._body is not None:
            _check_content_type(headers)
            body = scope["body"]
            given["body"] = self._body.decode(body)
        key = key_of(headers) if self.endpoint.idempotent else None
        if key is None:
            answer = self._encode(await self.endpoint.handler(**given), scope)
        else:
            answer = await self._call_once(scope, key, body, given)
        await respond(scope, send, answer.status, answer.headers, answer.body)

    def shared(self, scope: Scope, values: list[str]) -> Shared:
        """What a request of a shared endpoint asks for, whoever sends it.

        Raises:
            NotAcceptable, NotFound, Invalid, BadRequest: what calling it would raise, too.
        """
        given, query = self._read(scope, values)
        policy = self.endpoint.cache
        tag = (policy.tag or "").format_map(given)
        want = Want((self._route + canonical(given, query)), (tag,), CODEC)
        if self.signature.takes_query:
            given["query"] = query
        if self.signature.caller:
            given["caller"] = GUEST
        # What is left of the request when somebody renews the answer later.
        asked: Scope = {
            "caller": GUEST,
            "fields": scope.get("fields"),
            "headers": [],
            "path": scope["path"],
            "path_values": values,
            "query": query,
        }
        apart = None if policy.apart is None else partial(policy.apart, query)
        return Shared(want, partial(self._kept, given, asked), apart)

    async def _kept(self, given: dict[str, Any], asked: Scope) -> Kept:
        answer = self._encode(await self.endpoint.handler(**given), asked)
        return Kept(answer.headers, answer.body)

    def _read(self, scope: Scope, values: list[str]) -> tuple[dict[str, Any], msgspec.Struct]:
        """The path's parameters and the fields for the handler, and the query."""
        if self.signature.resource is not None:
            _check_accept(scope["headers"])
        given: dict[str, Any] = {}
        for (name, is_id), value in zip(self._parsers, values, strict=True):
            given[name] = parse_id(value, self._kind) if is_id else value
        query = scope["query"] = self._query.decode(scope["query_string"])
        if self.signature.has_fields:
            scope["fields"] = fields_in(query)
            if self.signature.takes_fields:
                given["fields"] = scope["fields"]
        return given, query

    def _add_circumstances(self, given: dict[str, Any], scope: Scope) -> None:
        """What the handler takes of who calls, from where, and on what condition."""
        if self.signature.caller:
            given["caller"] = scope["caller"]
        if self.signature.takes_address:
            given["address"] = scope["client_address"]
        if self.signature.takes_if_match:
            given["if_match"] = IfMatch.of(scope["headers"])

    async def _call_once(
        self, scope: Scope, key: bytes, body: bytes, given: dict[str, Any]
    ) -> KeptAnswer:
        """Call the handler, whose write happens once; a repeated request is answered as before.

        One that is refused may have been carried out, too, and changed what it is judged by.
        """
        request = KeyedRequest(scope, key, body, lambda outcome: self._of_write(outcome, scope))
        try:
            with request.claimed():
                await self.endpoint.handler(**given)
        except ReplayedError as replayed:
            before = request.opened(replayed.answer)
        except ProblemError as problem:
            found = await request.before() if problem.status < 500 else None
            if found is None:
                raise
            before = found
        else:
            if request.answer is None:
                raise LookupError(f"{self.endpoint.name} made no write under its key")
            return request.answer
        before.headers.append(REPLAYED)
        return before

    def _of_write(self, outcome: Any, scope: Scope) -> KeptAnswer:
        """The answer that the handler will make of what its write gave."""
        return self._encode(Created(outcome) if self.signature.status == 201 else outcome, scope)

    def _encode_content(self, answer: Content, scope: Scope) -> KeptAnswer:
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
        if answer.tag is not None:
            headers.append((b"etag", answer.tag))
            if is_known(scope["headers"], answer.tag):
                return KeptAnswer(304, headers, b"")
        headers.append((b"content-type", answer.media_type.encode()))
        coding = scope.get("accepted", AS_IT_IS).coding
        if coding not in answer.codings:
            return KeptAnswer(answer.status, headers, answer.body)
        headers.append((b"content-encoding", coding))
        return KeptAnswer(answer.status, headers, answer.codings[coding])

    def _encode_json(self, answer: Any, scope: Scope) -> KeptAnswer:
        status, policy = self.signature.status, self.endpoint.cache
        control = cache_control(policy, scope["caller"], self._public)
        headers = [(b"cache-control", control), _VARY]
        if control is self._public:
            path = dict(zip(self.signature.path, scope["path_values"], strict=True))
            headers += tag_headers(tags_of(answer, policy, path))
        if status == 204:
            return KeptAnswer(status, headers, b"")
        headers.append(_JSON)
        if isinstance(answer, Created):
            headers.append((b"location", answer.location.encode()))
            answer = answer.value
        elif isinstance(answer, Page) and answer.next_cursor is not None:
            headers.append((b"link", next_link(scope["path"], scope["query"], answer.next_cursor)))
        fields = scope["fields"] if self.signature.has_fields else None
        body = _encoder.encode(answer if fields is None else cut_down(answer, fields))
        if self._has_version:
            tag = version_tag(answer.id, answer.version, variant_of(fields))
        elif self.endpoint.method == "GET":
            tag = content_tag(body)
        else:
            return KeptAnswer(status, headers, body)
        headers.append((b"etag", tag))
        if self.endpoint.method == "GET" and is_known(scope["headers"], tag):
            headers.remove(_JSON)
            return KeptAnswer(304, headers, b"")
        return KeptAnswer(status, headers, body)


def _check_accept(headers: list[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        if name == b"accept" and b"*/*" not in value and b"json" not in value:
            accepted = value.decode("latin-1").lower()
            if value.strip() and "application/*" not in accepted and "json" not in accepted:
                raise NotAcceptable("Answers come as application/json.")


def _check_content_type(headers: list[tuple[bytes, bytes]]) -> None:
    given = b""
    for name, value in headers:
        if name == b"content-type":
            given = value
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise UnsupportedMediaType(
                "Compressed request bodies aren't taken.", headers={"Accept-Encoding": "identity"}
            )
    if given == b"application/json":
        return
    media_type, _, parameters = given.decode("latin-1").lower().partition(";")
    media_type = media_type.strip()
    suffixed = media_type.startswith("application/") and media_type.endswith("+json")
    if media_type != "application/json" and not suffixed:
        raise UnsupportedMediaType("Send the body with Content-Type: application/json.")
    if parameters.partition("charset=")[2].strip(' "') not in ("", "utf-8", "utf8"):
        raise UnsupportedMediaType("The body's charset must be UTF-8.")
