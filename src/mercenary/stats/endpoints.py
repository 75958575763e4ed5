"""Statistics: what may be asked, by whom, at what price."""

from mercenary.db.projection import Fields
from mercenary.http.access import anyone
from mercenary.http.endpoint import RefreshedPage, endpoint, shared
from mercenary.stats import service
from mercenary.stats.schemas import (
    MarketplaceQuery,
    MarketplaceStats,
    SkillStats,
    SkillStatsQuery,
)


@endpoint("GET", "/stats/skills", access=anyone, cache=shared(tag="stats"))
async def list_skill_stats(query: SkillStatsQuery, fields: Fields) -> RefreshedPage[SkillStats]:
    """List skills with demand, supply and prices.

    As of `refreshed_at`. Amounts are told currency by currency. Drafts and deactivated accounts
    don't count; bids count when their project isn't open any more, and are told of from five
    freelancers on.
    """
    return await service.list_skills(query, fields)


@endpoint("GET", "/stats/marketplace", access=anyone, cache=shared(tag="stats"))
async def show_marketplace_stats(query: MarketplaceQuery) -> MarketplaceStats:
    """Show the marketplace day by day.

    As of `refreshed_at`: days after it are left out. The same counts as for skills, and accounts
    by the day of their sign-up, projects and proposals by the day they were made, hires by the day
    of the acceptance.
    """
    return await service.show_marketplace(query)
