"""Every fault of a request at once.

Decoding stops at the first fault, which is right for speed and wrong for whoever has to mend the
request. So a request that failed is walked once more here, field by field, and each field that
doesn't fit is named.
"""

import re
import types
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import UnsetType

from mercenary.errors import Fault
from mercenary.http.wire import decode_hook

# A body of 1 MiB can hold half a million faults, which nobody reads and all would wait for.
MAX_FAULTS = 100
_MAX_NAME = 100
_NUL = "\x00"
_JSON_NAMES = {
    "`str`": "a string",
    "`int`": "an integer",
    "`float`": "a number",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "an object",
    "`null`": "null",
    "`decimal`": "a number",
}
_LENGTH = re.compile(r"Expected `(?:str|array)` of length (<=|>=) (\d+)")
_BOUND = re.compile(r"Expected `(?:int|float)` (<=|>=|<|>) (-?\d+)")
_LENGTH_WORDS = {"<=": "at most", ">=": "at least"}
_BOUND_WORDS = {"<=": "at most", ">=": "at least", "<": "below", ">": "above"}


def faults_of(value: Any, type_: Any, pointer: str, *, strict: bool = True) -> list[Fault]:
    """Name what in `value` doesn't fit `type_`: everything, or the first 100.

    `strict` False reads strings as the numbers they spell, as in a query.
    """
    return list(islice(_faults_of(value, type_, pointer, strict), MAX_FAULTS))


def _faults_of(value: Any, type_: Any, pointer: str, strict: bool) -> Iterator[Fault]:
    kind = bare(type_)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        yield from _faults_of_fields(value, kind, pointer, strict)
        return
    if get_origin(kind) in (list, tuple) and isinstance(value, list):
        among = _faults_of_items(value, type_, pointer, strict)
        first = next(among, None)
        if first is not None:
            yield first
            yield from among
            return
    if isinstance(value, str) and _NUL in value:
        yield Fault(pointer, "A text can't hold the character U+0000")
        return
    try:
        msgspec.convert(value, type_, strict=strict, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        yield Fault(pointer, _readable(str(error), type_))


def _faults_of_items(value: list[Any], type_: Any, pointer: str, strict: bool) -> Iterator[Fault]:
    longest = _max_items(type_)
    if longest is not None and len(value) > longest:
        yield Fault(pointer, f"Expected at most {longest} items")
    item_type = get_args(bare(type_))[0]
    for index, item in enumerate(value[:longest]):
        yield from _faults_of(item, item_type, f"{pointer}/{index}", strict)


def _faults_of_fields(
    value: dict[str, Any], kind: type[msgspec.Struct], pointer: str, strict: bool
) -> Iterator[Fault]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in value.keys() - fields.keys():
        yield Fault(f"{pointer}/{escaped(name)}", _unknown(name, fields))
    for name, field in fields.items():
        if name in value:
            yield from _faults_of(value[name], field.type, f"{pointer}/{name}", strict)
        elif field.required:
            yield Fault(f"{pointer}/{name}", "This field is required")


def _unknown(name: str, known: Any) -> str:
    if not known:
        return "Unknown. None is taken here"
    near = get_close_matches(name[:_MAX_NAME], known, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"Unknown{hint} Known: {', '.join(known)}"


def escaped(name: str) -> str:
    """A caller's name for something as part of a pointer (RFC 6901): cut, and without U+0000."""
    return name[:_MAX_NAME].replace("~", "~0").replace("/", "~1").replace(_NUL, "")


def bare(type_: Any) -> Any:
    """The type itself, without annotations, null and absence."""
    if get_origin(type_) is Annotated:
        return bare(get_args(type_)[0])
    if get_origin(type_) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(type_) if kind not in (type(None), UnsetType)]
        return bare(kinds[0]) if len(kinds) == 1 else type_
    return type_


def _max_items(type_: Any) -> int | None:
    if get_origin(type_) in (Union, types.UnionType):
        return next((limit for kind in get_args(type_) if (limit := _max_items(kind))), None)
    metadata = getattr(type_, "__metadata__", ())
    return next((meta.max_length for meta in metadata if isinstance(meta, msgspec.Meta)), None)


def _readable(message: str, type_: Any) -> str:
    message = message.partition(" - at `$")[0]
    if found := _LENGTH.match(message):
        unit = "characters" if "`str`" in message else "items"
        return f"Expected {_LENGTH_WORDS[found[1]]} {found[2]} {unit}"
    if found := _BOUND.match(message):
        return f"Expected a number {_BOUND_WORDS[found[1]]} {found[2]}"
    if "matching regex" in message:
        return "Expected a text that isn't blank"
    if message.startswith("Invalid enum value"):
        return f"Expected one of: {', '.join(map(str, get_args(bare(type_))))}"
    for name, word in _JSON_NAMES.items():
        message = message.replace(name, word)
    return message.replace(" | ", " or ")
