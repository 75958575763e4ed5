"""A statement as the driver is sent it, for whoever wants its text, to explain or to compare it.

Nothing on the way of a request needs this; there the engine does it.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql import asyncpg

_DIALECT: Final = asyncpg.dialect()  # type: ignore[no-untyped-call]


class Sent(NamedTuple):
    """A statement's text, and the values of `$1` and so on."""

    text: str
    parameters: tuple[Any, ...]


def sent(statement: Executable, parameters: Mapping[str, Any]) -> Sent:
    """What a statement is sent as with these parameters, by their names; others are None."""
    compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    missing = dict.fromkeys(name for name, bind in compiled.binds.items() if bind.required)
    state = compiled.construct_expanded_state({**missing, **parameters})
    return Sent(state.statement, tuple(state.positional_parameters))
