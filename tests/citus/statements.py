"""Every statement that a cluster is sent, as text: the catalogue's and what views gather."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql import asyncpg

from mercenary.catalogue import QUERIES
from mercenary.db.metadata import views
from tests.citus.reading import Level, read

_DIALECT: Final = asyncpg.dialect()  # type: ignore[no-untyped-call]


@cache
def statements() -> Mapping[str, str]:
    """The statements by query and form, with `$1` for what is a parameter."""
    found = {
        f"{name}{':' if form else ''}{form}": _text(statement)
        for name, query in QUERIES.items()
        for form, statement in query.forms(sharded=True).items()
    }
    return found | {view.name: view.info["definition"] for view in views.tables.values()}


@cache
def levels() -> Mapping[str, Level]:
    """The same, read; without those that are no queries, such as VACUUM."""
    read_ones = {name: read(text) for name, text in statements().items()}
    return {name: level for name, level in read_ones.items() if level.is_query}


def _text(statement: Executable) -> str:
    compiled: Any = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    return str(compiled)
