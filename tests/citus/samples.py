"""Statements with values for their parameters, so that they can be planned."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import BindParameter, Executable, types
from sqlalchemy.dialects.postgresql import ARRAY, asyncpg

from mercenary.catalogue import QUERIES

_DIALECT: Final = asyncpg.dialect()  # type: ignore[no-untyped-call]
_BY_NAME: Final = {"after": 0, "upto": 10_000, "sequence": "users_id_seq", "milliseconds": "5000"}
_BY_TYPE: Final[tuple[tuple[type[types.TypeEngine[Any]], object], ...]] = (
    (types.Boolean, True),
    (types.Integer, 1),
    (types.Float, 1.5),
    (types.Numeric, Decimal("1.50")),
    (types.LargeBinary, b"1"),
    (types.DateTime, datetime(2026, 1, 2, tzinfo=UTC)),
    (types.Date, date(2026, 1, 2)),
    (types.Interval, timedelta(seconds=1)),
    (types.String, "one"),
)


class Sample(NamedTuple):
    """A statement as a cluster is sent it, with values for `$1` and so on."""

    name: str
    text: str
    values: tuple[Any, ...]


def samples() -> Iterator[Sample]:
    """Every query in each of its forms on a cluster, lists with one value each."""
    for name, query in QUERIES.items():
        for form, statement in query.forms(sharded=True).items():
            yield _sampled(f"{name}{':' if form else ''}{form}", statement)


def _sampled(name: str, statement: Executable) -> Sample:
    compiled: Any = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    values = {key: _value(key, each) for key, each in compiled.binds.items()}
    sent = compiled.construct_expanded_state(values)
    return Sample(name, sent.statement, tuple(sent.parameters[key] for key in sent.positiontup))


def _value(key: str, parameter: BindParameter[Any]) -> Any:
    if parameter.value is not None:
        return parameter.value
    if key in _BY_NAME:
        return _BY_NAME[key]
    return _of_type(parameter.type)


def _of_type(type_: types.TypeEngine[Any]) -> Any:
    if isinstance(type_, ARRAY):
        return [_of_type(type_.item_type)]
    return next(value for kind, value in _BY_TYPE if isinstance(type_, kind))
