"""A list as a feature's rules ask for it; declare one a list in its `service.py`."""

from asyncio import Future
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import msgspec

from mercenary.cache.results import CachedQuery, answers
from mercenary.db.batches import read_batch
from mercenary.db.counts import CountAsk, Counts, Facets
from mercenary.db.page_statements import Filters
from mercenary.db.pages import PageAsk, PageQuery, Slice

Item = TypeVar("Item", bound=msgspec.Struct)
T = TypeVar("T")

_PAGES_A_BATCH = 32
# Each is a statement of its own: in one batch with others it would wait for them, and end with the
# one that takes too long. Callers who ask the same still share it.
_SEARCHES_A_BATCH = 1


class Listing(Generic[Item]):
    """Its pages, its searches and its counts, each in a batch of its own.

    Counts, whether of all rows or by the values of facets, take one lane at most, because they
    alone can't be kept short: they are exact, as far as the statement's timeout lets them.

    A list that has a `tag` keeps its counts until something moves the tag, for everybody who asks
    by the same filters. Where what somebody sees depends on who it is, `public` names the filter
    that all asks have for which it doesn't; the others are counted each time. A `replicated` list
    may be read from a replica.
    """

    def __init__(
        self,
        query: PageQuery[Item],
        *,
        tag: str | None = None,
        public: str | None = None,
        replicated: bool = False,
    ) -> None:
        self.query = query
        self._pages = read_batch(
            query.pages, name=query.name, max_size=_PAGES_A_BATCH, replicated=replicated
        )
        self._searches = read_batch(
            query.searches,
            name=f"{query.name}_searches",
            max_size=_SEARCHES_A_BATCH,
            searching=True,
            replicated=replicated,
        )
        self._counts = read_batch(
            query.counts,
            max_size=_SEARCHES_A_BATCH,
            searching=True,
            parallel=1,
            replicated=replicated,
        )
        self._public = public
        self._tags = () if tag is None else (tag,)
        self._kept_total = self._kept(self._total)
        self._kept_facets = self._kept(self._facets)

    def page(self, ask: PageAsk) -> "Future[Slice[Item] | None]":
        """Ask for a page."""
        return (self._searches if self.query.is_search(ask) else self._pages)(ask)

    async def total(self, filters: Filters) -> int:
        """How many rows there are on all pages together."""
        return await (self._kept_total if self._may_keep(filters) else self._total)(filters)

    async def facets(self, filters: Filters) -> Facets:
        """How many rows have each value of each facet."""
        return await (self._kept_facets if self._may_keep(filters) else self._facets)(filters)

    async def count(self, ask: CountAsk) -> Counts:
        """Count now, whatever is kept."""
        counted = await self._counts(ask)
        if counted is None:
            raise LookupError(f"{self.query.name} counted nothing")
        return counted

    async def _total(self, filters: Filters, /) -> int:
        return (await self.count(CountAsk(filters))).total

    async def _facets(self, filters: Filters, /) -> Facets:
        return (await self.count(CountAsk(filters, by_value=True))).facets

    def _may_keep(self, filters: Filters) -> bool:
        return bool(self._tags) and (self._public is None or (self._public, None) in filters)

    def _kept(
        self, count: Callable[[Filters], Coroutine[Any, Any, T]]
    ) -> CachedQuery[[Filters], T]:
        name = f"{self.query.name}{count.__name__}"
        tags = self._tags
        return CachedQuery(count, name=name, tags=lambda _: tags, seconds=None, section=answers)
