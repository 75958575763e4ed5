"""JSON schemas of the types that go over the wire, and an example of each."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

import msgspec

from mercenary.http.endpoint import PAGES, FacetedPage, RefreshedPage
from mercenary.http.fields import resource_of
from mercenary.http.problems import Problem
from mercenary.http.wire import MAX_ID, VISIBLE, Amount, schema_hook

Schema = dict[str, Any]

REF = "#/components/schemas/{name}"
ID: Schema = {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID}
# What a Decimal is when it goes out; coming in, `wire.Amount` describes itself.
_MONEY: Schema = {
    "type": "string",
    "format": "decimal",
    "pattern": r"^\d+\.\d{2}$",
    "examples": ["1500.00"],
}
_AMOUNT = Amount.schema
_OF_NUMBERS = ("exclusiveMinimum", "maximum", "multipleOf")
# PostgreSQL's texts hold any character but U+0000, and decoding refuses it wherever it is.
_WITHOUT_NUL = {
    None: r"^[^\u0000]*$",
    VISIBLE: r"^[^\u0000]*[^\s\ufeff\u0000\u001c-\u001f\u0085][^\u0000]*$",
}
_NULL = {"type": "null"}
_PAGE = re.compile(r"\b(?:Faceted|Refreshed)?Page_(\w+)_$")
_CURSOR_EXAMPLE = "2p1Ff3bD5mQxk0cP0wEoq1siMjAyNi0xMS0yM1QxMDowMDowMC4wMDAwMDBaIiwxN10"

# What some pages have besides.
_ON_PAGES: dict[Any, dict[str, Any]] = {
    FacetedPage: {
        "facets": {"skill": [{"value": 4, "count": 17_402}, {"value": 9, "count": 9_120}]}
    },
    RefreshedPage: {"refreshed_at": "2026-11-23T10:00:00.000000Z"},
}


class Schemas:
    """Each type's schema: Structs are named components, everything else stands where it is used."""

    def __init__(self, types: Iterable[Any]) -> None:
        known = list(dict.fromkeys(types))
        self._resources = {
            resource.__name__ for type_ in known if (resource := resource_of(type_)) is not None
        }
        schemas, components = msgspec.json.schema_components(
            known, schema_hook=schema_hook, ref_template=REF
        )
        self._schemas: dict[Any, Schema] = {
            type_: _polished(schema) for type_, schema in zip(known, schemas, strict=True)
        }
        self.components: dict[str, Schema] = {
            _named(name): _polished(schema) for name, schema in components.items()
        }
        self._complete_components()

    def of(self, type_: Any) -> Schema:
        """The schema of one of the types that were given."""
        return self._schemas[type_]

    def _complete_components(self) -> None:
        for name, schema in self.components.items():
            schema["title"] = name
            # With `fields` any property of a resource may be missing.
            if name in self._resources or not schema.get("required", True):
                schema.pop("required", None)
        problem = self.components.get(Problem.__name__)
        if problem is not None:  # what has nothing to say is left out, and never null
            properties = problem["properties"]
            problem["properties"] = {name: never_null(value) for name, value in properties.items()}


def parameters_of(query: type[msgspec.Struct]) -> Iterator[tuple[str, Schema]]:
    """Each parameter of a query with its schema. Null can't be said in one, so it isn't offered."""
    _, components = msgspec.json.schema_components(
        [query], schema_hook=schema_hook, ref_template=REF
    )
    for name, schema in components[query.__name__]["properties"].items():
        described = never_null(_polished(schema, name))
        if described.get("type") == _AMOUNT["type"]:  # whatever it is, a parameter is a text
            described = {key: described[key] for key in described if key not in _OF_NUMBERS}
            described["type"] = "string"
        yield name, described


def example_of(type_: Any) -> Any:
    """A realistic value of a type of the wire: what its Struct gives as `example`.

    Raises:
        TypeError: the Struct gives none.
    """
    kind = get_origin(type_) or type_
    if kind is Annotated:
        return example_of(get_args(type_)[0])
    if kind is list:
        return [example_of(get_args(type_)[0])]
    if kind in PAGES:
        page = {
            "items": [example_of(get_args(type_)[0])],
            "next_cursor": _CURSOR_EXAMPLE,
            "total": 96_942,
        }
        return page | _ON_PAGES.get(kind, {})
    example = getattr(kind, "example", None)
    if not isinstance(example, Mapping):
        raise TypeError(f"{kind.__name__} goes over the wire and has no example")
    return dict(example)


def never_null(schema: Schema) -> Schema:
    """The schema of something that is left out rather than null."""
    kept = {key: value for key, value in schema.items() if (key, value) != ("default", None)}
    choices = kept.get("anyOf")
    if choices is None or _NULL not in choices:
        return kept
    choices = [choice for choice in choices if choice != _NULL]
    if len(choices) > 1:
        return kept | {"anyOf": choices}
    del kept["anyOf"]
    return {**choices[0], **kept}


def _polished(schema: Any, name: str = "") -> Any:
    """What msgspec says, in the terms of the wire; `name` is the property's that is described."""
    if isinstance(schema, list):
        return [_polished(each, name) for each in schema]
    if not isinstance(schema, dict):
        return schema
    polished = {key: _polished(value, name) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        polished["properties"] = {
            inner: _polished(value, inner) for inner, value in schema["properties"].items()
        }
    if "$ref" in polished:
        polished["$ref"] = _named(polished["$ref"])
    elif polished.get("format") == "decimal":
        polished |= _MONEY
    elif polished.get("type") == "integer" and _is_id(polished, name):
        polished |= ID
    elif all(isinstance(value, str) for value in polished.get("enum", [None])):
        polished["type"] = "string"
    elif polished.get("type") == "string" and "format" not in polished:
        polished["pattern"] = _WITHOUT_NUL.get(polished.get("pattern"), polished.get("pattern"))
    return polished


def _is_id(schema: Schema, name: str) -> bool:
    return schema.get("maximum") == MAX_ID or name == "id" or name.endswith(("_id", "_ids"))


def _named(name: str) -> str:
    return _PAGE.sub(r"\1Page", name)
