"""`fields`: just those top-level fields of a resource, wherever one is returned.

A resource is a Struct with an `id` and, but for one that is only ever listed, a `version`. An
endpoint that answers one, or a page of them, takes the parameter without a word of its own; a
handler that declares `fields` is given the names, so that it can read no more than those.
"""

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter
from types import new_class
from typing import Annotated, Any, ClassVar, Self, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from mercenary.db.projection import IDENTITY, Fields
from mercenary.http.endpoint import PAGES, Created, Page

Query = TypeVar("Query", bound=msgspec.Struct)
_MAX_NAME = 100


class NameList(tuple[str, ...]):
    """Names out of a few known ones: one parameter, separated by commas, in the known order."""

    __slots__ = ()
    known: ClassVar[tuple[str, ...]] = ()
    schema: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, *, known: tuple[str, ...]) -> None:
        cls.known = known
        cls.schema = {
            "type": "array",
            "items": {"type": "string", "enum": list(known)},
            "minItems": 1,
        }

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read the names; order and repetition don't matter.

        Raises:
            ValueError: one isn't known, or there is none.
        """
        given = dict.fromkeys(str(value).split(","))
        if not any(given):
            raise ValueError(f"Expected at least one name. Known: {', '.join(cls.known)}")
        unknown = [f"«{name[:_MAX_NAME]}»" for name in given if name not in cls.known]
        if unknown:
            raise ValueError(f"Unknown: {', '.join(unknown)}. Known: {', '.join(cls.known)}")
        return cls(name for name in cls.known if name in given)


def resource_of(answer: Any) -> type[msgspec.Struct] | None:
    """The resource in an answer's type: alone, just created, or on a page; None where none is.

    On a page it needs no version: what the page is known by is a digest of its bytes.
    """
    needed = {"id"} if get_origin(answer) in PAGES else set(IDENTITY)
    if get_origin(answer) in (*PAGES, Created):
        (answer,) = get_args(answer)
    if isinstance(answer, type) and issubclass(answer, msgspec.Struct):
        return answer if needed <= set(answer.__struct_fields__) else None
    return None


@lru_cache(maxsize=256)
def taking_fields(query: type[Query], resource: type[msgspec.Struct]) -> type[Query]:
    """The query with a `fields` of this resource beside its own parameters."""
    names = new_class("FieldNames", (NameList,), {"known": resource.__struct_fields__})
    described = Meta(description="Just these fields, separated by commas; all of them by default.")
    field = ("fields", Annotated[names | None, described], None)
    taking = msgspec.defstruct(
        query.__name__, [field], bases=(query,), kw_only=True, module=query.__module__
    )
    return cast("type[Query]", taking)


def fields_in(query: msgspec.Struct) -> Fields:
    """The fields that a query asks for; None for all of them, also where all were named."""
    names: NameList | None = query.fields  # type: ignore[attr-defined] # see `taking_fields`
    return None if names is None or len(names) == len(names.known) else names


@lru_cache(maxsize=256)
def variant_of(fields: Fields) -> str:
    """A short name of a choice of fields, for entity tags; empty for all of them."""
    return "" if fields is None else blake2b(",".join(fields).encode(), digest_size=4).hexdigest()


def cut_down(answer: Any, fields: tuple[str, ...]) -> Any:
    """The answer with just these fields of its resource, or of each on its page."""
    if isinstance(answer, Page):
        return replace(answer, items=list(_parts(answer.items, fields)))
    return next(_parts([answer], fields))


def _parts(items: list[Any], fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    if len(fields) == 1:
        (name,) = fields
        return ({name: getattr(item, name)} for item in items)
    values = attrgetter(*fields)
    return (dict(zip(fields, values(item), strict=True)) for item in items)
