"""Bytes to typed values: the JSON body, the query, the ids in a path.

The common case is one call of a compiled decoder. Only a request that fails is looked at again, by
`faults`, to tell its sender everything at once.
"""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, get_origin
from urllib.parse import parse_qsl

import msgspec

from mercenary.errors import BadRequest, Fault, Invalid, NotFound
from mercenary.http.faults import bare, escaped, faults_of
from mercenary.http.wire import MAX_ID, decode_hook

T = TypeVar("T")
Parameters = TypeVar("Parameters", bound=msgspec.Struct)
_ESCAPED_NUL = b"\\u0000"
_MAX_PARAMETERS = 64
_ID_DIGITS = 19
# Only brackets outside of strings make lists and objects, but no text that is taken has so many.
# 340,000 empty lists, which fit into 1 MiB, kept the loop for 0.4 s, so many for 0.02 s.
_MAX_BRACKETS = 50_000
_CONTAINERS = (dict, list)


class BodyDecoder(Generic[T]):
    """Reads one type of body."""

    def __init__(self, type_: type[T], max_depth: int) -> None:
        self.type = type_
        self._max_depth = max_depth
        self._decoder = msgspec.json.Decoder(type_, dec_hook=decode_hook)

    def decode(self, body: bytes) -> T:
        """Read a body.

        Raises:
            BadRequest: it isn't JSON, or nests too deep.
            Invalid: it is, and breaks rules; each is named.
        """
        try:
            value = self._decoder.decode(body)
        except (ValueError, RecursionError):
            return self._second_look(body)
        if _ESCAPED_NUL in body:
            self._refuse_faults(self._generic(body))
        return value

    def _second_look(self, body: bytes) -> T:
        # To JSON Schema 5.0 is an integer; the first look knows only those without a point.
        value = _with_whole_numbers(self._generic(body))
        self._refuse_faults(value)
        try:
            return msgspec.convert(value, self.type, dec_hook=decode_hook)
        except msgspec.ValidationError:
            raise Invalid.at(
                "", "The body doesn't have the form that is described for this request"
            ) from None

    def _refuse_faults(self, value: Any) -> None:
        if faults := faults_of(value, self.type, ""):
            raise Invalid(faults)

    def _generic(self, body: bytes) -> Any:
        if not body.strip():
            raise BadRequest("The body is empty; send JSON.")
        if body.count(b"[") + body.count(b"{") > _MAX_BRACKETS:
            raise BadRequest(
                f"The body nests deeper than {self._max_depth} levels, or holds too many lists."
            )
        try:
            value = msgspec.json.decode(body)
        except RecursionError:
            raise BadRequest(f"The body nests deeper than {self._max_depth} levels.") from None
        except msgspec.ValidationError:
            raise BadRequest("The body holds a number that is out of range.") from None
        except ValueError:
            raise BadRequest("The body isn't valid JSON in UTF-8.") from None
        if _deeper_than(value, self._max_depth):
            raise BadRequest(f"The body nests deeper than {self._max_depth} levels.")
        return value


class QueryDecoder(Generic[Parameters]):
    """Reads the parameters of one endpoint; a list's parameter may be repeated, others may not."""

    def __init__(self, type_: type[Parameters]) -> None:
        self.type = type_
        self._repeatable = repeatable_in(type_)
        fields = msgspec.structs.fields(type_)
        self._fields = {field.encode_name: field for field in fields}
        self._defaults = msgspec.convert({}, type_)

    def decode(self, query: bytes) -> Parameters:
        """Read a query string.

        Raises:
            BadRequest: it isn't UTF-8.
            Invalid: an unknown, repeated or wrong parameter; each is named.
        """
        if not query:
            return self._defaults
        given, faults = self._given(query)
        try:
            value = msgspec.convert(given, self.type, strict=False, dec_hook=decode_hook)
        except msgspec.ValidationError:
            faults += faults_of(given, self.type, "", strict=False)
            raise Invalid(_as_parameters(faults)) from None
        if b"%00" in query:
            faults += faults_of(given, self.type, "", strict=False)
        faults += self._nulls(given, value)
        if faults:
            raise Invalid(_as_parameters(faults))
        return value

    def _nulls(self, given: dict[str, Any], value: Parameters) -> Iterator[Fault]:
        """A fault for each parameter that spells null, which msgspec would read as left out."""
        for name, text in given.items():
            field = self._fields[name]
            if getattr(value, field.name) is None:
                yield from faults_of(text, bare(field.type), f"/{name}", strict=False)

    def _given(self, query: bytes) -> tuple[dict[str, Any], list[Fault]]:
        """The parameters by name, and a fault for each that comes again and may not."""
        given: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, value in parse_query(query):
            if name in self._repeatable:
                given.setdefault(name, []).append(value)
            elif name in given:
                fault = Fault(f"/{escaped(name)}", "This parameter can be given only once")
                faults.append(fault)
            else:
                given[name] = value
        return given, faults


class NoParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of an endpoint that takes none."""


def repeatable_in(query: type[msgspec.Struct]) -> set[str]:
    """The parameters that may be given more than once: the lists."""
    fields = msgspec.structs.fields(query)
    return {field.encode_name for field in fields if get_origin(bare(field.type)) in (list, tuple)}


def parse_query(query: bytes) -> list[tuple[str, str]]:
    """The (name, value) pairs of a query string.

    Raises:
        BadRequest: it isn't UTF-8, or has more than 64 parameters.
    """
    try:
        return parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:
        raise BadRequest(
            f"The query must be percent-encoded UTF-8 with at most {_MAX_PARAMETERS} parameters."
        ) from None


def parse_id(value: str, kind: str) -> int:
    """An id from a path.

    Raises:
        NotFound: it can't be the id of anything.
    """
    if value.isascii() and value.isdigit() and len(value) <= _ID_DIGITS and value[0] != "0":
        number = int(value)
        if number <= MAX_ID:
            return number
    raise NotFound(kind, value[:40].replace("\0", ""))


def _as_parameters(faults: list[Fault]) -> list[Fault]:
    return [
        Fault("?" + fault.pointer.removeprefix("/").partition("/")[0], fault.detail)
        for fault in faults
    ]


def _with_whole_numbers(value: Any) -> Any:
    """The value with integers for numbers that are whole, as far as an id can reach."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_ID:
        return int(value)
    if isinstance(value, list):
        return [_with_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {name: _with_whole_numbers(item) for name, item in value.items()}
    return value


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            if isinstance(outer, _CONTAINERS)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return any(isinstance(value, _CONTAINERS) for value in level)
