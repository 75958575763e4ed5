"""Which of the product's queries a statement is, by its text as pg_stat_statements keeps it.

PostgreSQL leaves out values and comments, in each version a bit more of them; so both texts are
compared without any value, parameter or list of them. A query whose columns a caller chose
(`fields=`) or whose filters are combined as in none of its forms has no name here.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, cast

from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql import asyncpg

from mercenary.catalogue import QUERIES

_VALUES: Final = re.compile(
    r"""(?:\bE)?'(?:[^']|'')*' | \$\d+ | __\[POSTCOMPILE_\w+\]
        | \b\d+(?:\.\d+)?\b | \b(?:true|false|null)\b
        | (?<=LIMIT[ ])ALL\b | (?<=EXTRACT\()\w+""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_COMMENT: Final = re.compile(r"\s*/\*.*?\*/|--[^\n]*", re.DOTALL)
_SIGN: Final = re.compile(r"-\s*\?")
_LIST: Final = re.compile(r"\?(?:\s*,\s*\?)+")


def shape(text: str) -> str:
    """A statement without its values."""
    return " ".join(
        _LIST.sub("?", _SIGN.sub("?", _VALUES.sub("?", _COMMENT.sub("", text)))).split()
    )


@cache
def names() -> Mapping[str, str]:
    """The names of all queries by the shapes of their forms. It takes two seconds, once.

    Where queries of several names are sent in the same words, all of them are told.
    """
    dialect = asyncpg.dialect()  # type: ignore[no-untyped-call]
    found: dict[str, list[str]] = {}
    for name, query in QUERIES.items():
        forms = (*query.forms().values(), *query.forms(sharded=True).values())
        for each in {
            shape(str(cast(ClauseElement, form).compile(dialect=dialect))) for form in forms
        }:
            found.setdefault(each, []).append(name)
    return {each: " or ".join(those) for each, those in found.items()}
