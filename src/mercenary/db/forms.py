"""The forms that a query takes, as statements: what names, plans and tests go by.

What composes statements, such as a `Lock` or the pages of a list, has a method `forms`; a statement
that is composed while the product runs says by `named` whose it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from sqlalchemy import Executable

Statement = TypeVar("Statement", bound=Executable)
Forms = Mapping[str, Executable]
"""By what tells them from each other, the usual one first; PLAIN where there is one alone."""

PLAIN: Final = ""
_OPTION: Final = "query"


class Composed(ABC):
    """What composes a query's statements."""

    @abstractmethod
    def forms(self, *, sharded: bool = False) -> Forms:
        """The statements that one server is asked, or that a cluster is (`topology.py`)."""


def named(name: str, statement: Statement) -> Statement:
    """The statement, which from now on says whose it is."""
    option: dict[str, Any] = {_OPTION: name}
    return statement.execution_options(**option)


def name_in(statement: Executable) -> str | None:
    """What a statement says of whose it is."""
    name = statement.get_execution_options().get(_OPTION)
    return None if name is None else str(name)
