"""Every query has a name: its feature's, and that of the variable that it is declared as.

`projects.posted` is `_POSTED` in `projects/queries.py`, and `outbox.oldest` is `_OLDEST` in
`db/outbox.py`. In a module that declares queries, a statement in capitals is one that is sent, and
one in small letters a part of others; `X_ON_SHARDS` is what a cluster is asked instead of `X`. What
composes statements (`forms.Composed`) is a query whatever its letters. So nothing is registered,
and nothing that is declared is without a name.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, Final

from sqlalchemy import Delete, Executable, Insert, SelectBase, TextClause, Update

from mercenary.db.counts import CountQuery
from mercenary.db.forms import PLAIN, Composed, Forms, name_in
from mercenary.db.pages import PageQuery
from mercenary.db.projection import KeyQuery

_STATEMENTS: Final = (SelectBase, Insert, Update, Delete, TextClause)
# These compose a statement when it is first asked for, and it says whose it is.
_ON_DEMAND: Final = (KeyQuery, PageQuery, CountQuery)
_ON_SHARDS: Final = "_ON_SHARDS"


class NamedQuery:
    """A query of the product, and the statements that it becomes."""

    def __init__(self, name: str, declared: Any, on_shards: Any = None) -> None:
        self.name = name
        self.declared = declared
        self._on_shards = declared if on_shards is None else on_shards

    def forms(self, *, sharded: bool = False) -> Forms:
        """Its statements on one server, or on a cluster."""
        declared = self._on_shards if sharded else self.declared
        if isinstance(declared, Composed):
            return declared.forms(sharded=sharded)
        if isinstance(declared, Mapping):
            return {str(form): statement for form, statement in declared.items()}
        return {PLAIN: declared}


class Catalogue(Mapping[str, NamedQuery]):
    """All queries that some modules declare, by name, in the order of their declaration."""

    def __init__(self, modules: Iterable[ModuleType]) -> None:
        self._queries = {query.name: query for each in modules for query in _declared_in(each)}
        on_demand = {n for n, query in self.items() if isinstance(query.declared, _ON_DEMAND)}
        self._own_names = {name.partition(".")[2]: name for name in on_demand}
        self._names = {
            id(statement): name
            for name, query in self.items()
            if name not in on_demand
            for sharded in (False, True)
            for statement in query.forms(sharded=sharded).values()
        }

    def __getitem__(self, name: str) -> NamedQuery:
        return self._queries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._queries)

    def __len__(self) -> int:
        return len(self._queries)

    def name_of(self, statement: Executable) -> str | None:
        """The name of the query that a statement, as it is sent, is a form of."""
        own_name = name_in(statement)
        return self._names.get(id(statement)) if own_name is None else self._own_names.get(own_name)


def _declared_in(module: ModuleType) -> Iterator[NamedQuery]:
    package, _, last = module.__name__.rpartition(".")
    feature = package.rpartition(".")[2] if last == "queries" else last
    found = {name: value for name, value in vars(module).items() if _is_sent(name, value)}
    for variable, value in found.items():
        if not variable.endswith(_ON_SHARDS):
            name = f"{feature}.{variable.strip('_').lower()}"
            yield NamedQuery(name, value, found.get(variable + _ON_SHARDS))
            if isinstance(value, PageQuery):
                yield NamedQuery(f"{name}_counts", value.counts)


def _is_sent(variable: str, value: object) -> bool:
    if isinstance(value, Composed):
        return True
    if isinstance(value, dict):
        return bool(value) and all(_is_sent(variable, each) for each in value.values())
    return variable.isupper() and isinstance(value, _STATEMENTS)
