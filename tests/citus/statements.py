"""Every statement that a cluster is sent, as text: the catalogue's and what views gather."""

from collections.abc import Mapping
from functools import cache

from mercenary.db.metadata import views
from tests.citus.reading import Level, read
from tests.citus.samples import samples


@cache
def statements() -> Mapping[str, str]:
    """The statements by query and form, with `$1` for what is a parameter."""
    asked = {sample.name: sample.text for sample in samples()}
    return asked | {view.name: view.info["definition"] for view in views.tables.values()}


@cache
def levels() -> Mapping[str, Level]:
    """The same, read; without those that are no queries, such as VACUUM."""
    read_ones = {name: read(text) for name, text in statements().items()}
    return {name: level for name, level in read_ones.items() if level.is_query}
