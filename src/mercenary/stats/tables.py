"""What is gathered beforehand: two materialized views, and when they were refreshed.

They are declared apart from the tables, which they only repeat in sum: by the columns that are
read, and by the statement that a refresh runs. A unique index lets it run beside the readers.

Amounts are kept as JSON, a list of quartiles by currency, since nobody looks for one: texts, so
that no cent is lost, in the order in which they are shown.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON

from mercenary.db.metadata import REFERENCE, index, materialized_view, metadata, moment

stats_refreshes = Table(
    "stats_refreshes",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    moment("refreshed_at"),
    CheckConstraint("id = 1", name="id"),
    info=REFERENCE,
    comment="one row: the views of statistics hold all that was committed before",
)

_QUARTILES = "percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP"


def _by_currency(count: str) -> str:
    """The quartiles of each currency as one list, the currency with the most amounts first."""
    return f"""json_agg(json_build_object(
               'currency', currency,
               'count', {count},
               'lower_quartile', quartiles[1]::numeric(12, 2)::text,
               'median', quartiles[2]::numeric(12, 2)::text,
               'upper_quartile', quartiles[3]::numeric(12, 2)::text
           ) ORDER BY {count} DESC, currency)"""


# What others than its two parties may learn of a bid: nothing before its project is decided, and
# then no more than a number that stands for at least five bidders.
_SEALED = "p.status IN ('in_progress', 'completed', 'cancelled')"
_FEWEST_BIDDERS = 5
# No join, for a cluster joins what is spread by one column only, and finds these ids first.
_ACTIVE = "b.freelancer_id IN (SELECT id FROM users WHERE is_active)"

stats_skills = materialized_view(
    "stats_skills",
    f"""
WITH posted AS (
    SELECT s.skill_id, p.currency,
           count(*) AS projects,
           count(*) FILTER (WHERE p.status = 'open') AS demand,
           {_QUARTILES} (ORDER BY p.budget) AS quartiles
    FROM projects p JOIN project_skills s ON s.project_id = p.id
    WHERE p.status <> 'draft'
    GROUP BY s.skill_id, p.currency
), wanted AS (
    SELECT skill_id, sum(demand)::bigint AS demand, sum(projects)::bigint AS projects,
           {_by_currency("projects")} AS budgets
    FROM posted GROUP BY skill_id
), had AS (
    SELECT s.skill_id, count(*) AS supply
    FROM user_skills s JOIN users u ON u.id = s.user_id
    WHERE u.role = 'freelancer' AND u.is_active
    GROUP BY s.skill_id
), bid AS (
    SELECT s.skill_id, b.currency,
           count(*) AS bids,
           {_QUARTILES} (ORDER BY b.bid) AS quartiles
    FROM proposals b
    JOIN projects p ON p.id = b.project_id
    JOIN project_skills s ON s.project_id = p.id
    WHERE {_ACTIVE} AND b.status <> 'withdrawn' AND {_SEALED}
    GROUP BY s.skill_id, b.currency
    HAVING count(DISTINCT b.freelancer_id) >= {_FEWEST_BIDDERS}
), offered AS (
    SELECT skill_id, {_by_currency("bids")} AS bids
    FROM bid GROUP BY skill_id
)
SELECT k.id, k.name,
       coalesce(w.demand, 0) AS demand,
       coalesce(w.projects, 0) AS projects,
       coalesce(h.supply, 0) AS supply,
       coalesce(w.budgets, '[]') AS budgets,
       coalesce(o.bids, '[]') AS bids
FROM skills k
LEFT JOIN wanted w ON w.skill_id = k.id
LEFT JOIN had h ON h.skill_id = k.id
LEFT JOIN offered o ON o.skill_id = k.id
""",  # noqa: S608 - no value of anybody's is in it
    Column("id", BigInteger),
    Column("name", Text),
    Column("demand", BigInteger),
    Column("projects", BigInteger),
    Column("supply", BigInteger),
    Column("budgets", JSON),
    Column("bids", JSON),
    index("uq_stats_skills_id", "id", unique=True, serves="GET /stats/skills?skill=; the refresh"),
    index(
        "idx_stats_skills_demand",
        "demand",
        "id",
        query="stats.select_skill_stats_pages",
        serves="GET /stats/skills?sort=demand, both ways",
    ),
    index(
        "idx_stats_skills_supply",
        "supply",
        "id",
        query="stats.select_skill_stats_pages",
        serves="GET /stats/skills?sort=supply, both ways",
    ),
    index(
        "idx_stats_skills_name",
        func.lower(text("name")),
        "id",
        query="stats.select_skill_stats_pages",
        serves="GET /stats/skills?sort=name",
    ),
    comment="how much each skill is wanted, how many have it, and for what",
)

stats_marketplace = materialized_view(
    "stats_marketplace",
    f"""
WITH joined AS (
    SELECT (created_at AT TIME ZONE 'UTC')::date AS day,
           count(*) FILTER (WHERE role = 'client') AS clients,
           count(*) FILTER (WHERE role = 'freelancer') AS freelancers
    FROM users WHERE is_active AND role <> 'admin'
    GROUP BY 1
), posted AS (
    SELECT (created_at AT TIME ZONE 'UTC')::date AS day, currency,
           count(*) AS projects,
           count(*) FILTER (WHERE status = 'open') AS open,
           count(*) FILTER (WHERE status = 'in_progress') AS in_progress,
           count(*) FILTER (WHERE status = 'completed') AS completed,
           count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
           {_QUARTILES} (ORDER BY budget) AS quartiles
    FROM projects WHERE status <> 'draft'
    GROUP BY 1, 2
), wanted AS (
    SELECT day,
           sum(open)::bigint AS open,
           sum(in_progress)::bigint AS in_progress,
           sum(completed)::bigint AS completed,
           sum(cancelled)::bigint AS cancelled,
           {_by_currency("projects")} AS budgets
    FROM posted GROUP BY day
), bid AS (
    SELECT (b.created_at AT TIME ZONE 'UTC')::date AS day, b.currency,
           count(*) AS proposals,
           count(*) FILTER (WHERE {_SEALED}) AS bids,
           count(DISTINCT b.freelancer_id) FILTER (WHERE {_SEALED}) AS bidders,
           {_QUARTILES} (ORDER BY b.bid) FILTER (WHERE {_SEALED}) AS quartiles
    FROM proposals b
    JOIN projects p ON p.id = b.project_id
    WHERE {_ACTIVE} AND b.status <> 'withdrawn'
    GROUP BY 1, 2
), offered AS (
    SELECT day, sum(proposals)::bigint AS proposals,
           {_by_currency("bids")} FILTER (WHERE bidders >= {_FEWEST_BIDDERS}) AS bids
    FROM bid GROUP BY day
), hired AS (
    SELECT (updated_at AT TIME ZONE 'UTC')::date AS day, count(*) AS hires
    FROM proposals WHERE status = 'accepted'
    GROUP BY 1
)
SELECT day,
       coalesce(j.clients, 0) AS clients,
       coalesce(j.freelancers, 0) AS freelancers,
       coalesce(w.open, 0) AS open,
       coalesce(w.in_progress, 0) AS in_progress,
       coalesce(w.completed, 0) AS completed,
       coalesce(w.cancelled, 0) AS cancelled,
       coalesce(w.budgets, '[]') AS budgets,
       coalesce(o.proposals, 0) AS proposals,
       coalesce(h.hires, 0) AS hires,
       coalesce(o.bids, '[]') AS bids
FROM joined j
FULL JOIN wanted w USING (day)
FULL JOIN offered o USING (day)
FULL JOIN hired h USING (day)
""",  # noqa: S608 - no value of anybody's is in it
    Column("day", Date),
    Column("clients", BigInteger),
    Column("freelancers", BigInteger),
    Column("open", BigInteger),
    Column("in_progress", BigInteger),
    Column("completed", BigInteger),
    Column("cancelled", BigInteger),
    Column("budgets", JSON),
    Column("proposals", BigInteger),
    Column("hires", BigInteger),
    Column("bids", JSON),
    index("uq_stats_marketplace_day", "day", unique=True, serves="GET /stats/marketplace; refresh"),
    comment="what began on each day (UTC), and what was agreed on",
)
