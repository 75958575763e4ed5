"""A list as a feature's rules ask for it; declare one a list in its `service.py`."""

from asyncio import Future
from typing import Generic, TypeVar

import msgspec

from mercenary.db.batches import read_batch
from mercenary.db.counts import CountAsk, Counts, Facets
from mercenary.db.page_statements import Filters
from mercenary.db.pages import PageAsk, PageQuery, Slice

Item = TypeVar("Item", bound=msgspec.Struct)

_PAGES_A_BATCH = 32
# Each is a statement of its own: in one batch with others it would wait for them, and end with the
# one that takes too long. Callers who ask the same still share it.
_SEARCHES_A_BATCH = 1


class Listing(Generic[Item]):
    """Its pages, its searches and its counts, each in a batch of its own.

    Counts, whether of all rows or by the values of facets, take one lane at most, because they
    alone can't be kept short: they are exact, as far as the statement's timeout lets them.
    """

    def __init__(self, query: PageQuery[Item]) -> None:
        self.query = query
        self._pages = read_batch(query.pages, name=query.name, max_size=_PAGES_A_BATCH)
        self._searches = read_batch(
            query.searches,
            name=f"{query.name}_searches",
            max_size=_SEARCHES_A_BATCH,
            searching=True,
        )
        self._counts = read_batch(
            query.counts, max_size=_SEARCHES_A_BATCH, searching=True, parallel=1
        )

    def page(self, ask: PageAsk) -> "Future[Slice[Item] | None]":
        """Ask for a page."""
        return (self._searches if self.query.is_search(ask) else self._pages)(ask)

    async def total(self, filters: Filters) -> int:
        """Count the rows of all pages together."""
        return (await self._counted(CountAsk(filters))).total

    async def facets(self, filters: Filters) -> Facets:
        """Count the rows by the values of each facet."""
        return (await self._counted(CountAsk(filters, by_value=True))).facets

    async def _counted(self, ask: CountAsk) -> Counts:
        counted = await self._counts(ask)
        if counted is None:
            raise LookupError(f"{self.query.name} counted nothing")
        return counted
