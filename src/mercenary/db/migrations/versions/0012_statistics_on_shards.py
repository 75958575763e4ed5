"""The statistics' views ask for active users apart, as a cluster's shards can't join them."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

QUARTILES = "percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP"
BY_CURRENCY = """json_agg(json_build_object(
               'currency', currency,
               'count', {0},
               'lower_quartile', quartiles[1]::numeric(12, 2)::text,
               'median', quartiles[2]::numeric(12, 2)::text,
               'upper_quartile', quartiles[3]::numeric(12, 2)::text
           ) ORDER BY {0} DESC, currency)"""
ACTIVE = "b.freelancer_id IN (SELECT id FROM users WHERE is_active)"
SEALED = "p.status IN ('in_progress', 'completed', 'cancelled')"

SKILLS = f"""
CREATE MATERIALIZED VIEW stats_skills_new AS
WITH posted AS (
    SELECT s.skill_id, p.currency,
           count(*) AS projects,
           count(*) FILTER (WHERE p.status = 'open') AS demand,
           {QUARTILES} (ORDER BY p.budget) AS quartiles
    FROM projects p JOIN project_skills s ON s.project_id = p.id
    WHERE p.status <> 'draft'
    GROUP BY s.skill_id, p.currency
), wanted AS (
    SELECT skill_id, sum(demand)::bigint AS demand, sum(projects)::bigint AS projects,
           {BY_CURRENCY.format("projects")} AS budgets
    FROM posted GROUP BY skill_id
), had AS (
    SELECT s.skill_id, count(*) AS supply
    FROM user_skills s JOIN users u ON u.id = s.user_id
    WHERE u.role = 'freelancer' AND u.is_active
    GROUP BY s.skill_id
), bid AS (
    SELECT s.skill_id, b.currency,
           count(*) AS bids,
           {QUARTILES} (ORDER BY b.bid) AS quartiles
    FROM proposals b
    JOIN projects p ON p.id = b.project_id
    JOIN project_skills s ON s.project_id = p.id
    WHERE {ACTIVE} AND b.status <> 'withdrawn' AND {SEALED}
    GROUP BY s.skill_id, b.currency
    HAVING count(DISTINCT b.freelancer_id) >= 5
), offered AS (
    SELECT skill_id, {BY_CURRENCY.format("bids")} AS bids
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
"""  # noqa: S608 - no value of anybody's is in it

MARKETPLACE = f"""
CREATE MATERIALIZED VIEW stats_marketplace_new AS
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
           {QUARTILES} (ORDER BY budget) AS quartiles
    FROM projects WHERE status <> 'draft'
    GROUP BY 1, 2
), wanted AS (
    SELECT day,
           sum(open)::bigint AS open,
           sum(in_progress)::bigint AS in_progress,
           sum(completed)::bigint AS completed,
           sum(cancelled)::bigint AS cancelled,
           {BY_CURRENCY.format("projects")} AS budgets
    FROM posted GROUP BY day
), bid AS (
    SELECT (b.created_at AT TIME ZONE 'UTC')::date AS day, b.currency,
           count(*) AS proposals,
           count(*) FILTER (WHERE {SEALED}) AS bids,
           count(DISTINCT b.freelancer_id) FILTER (WHERE {SEALED}) AS bidders,
           {QUARTILES} (ORDER BY b.bid) FILTER (WHERE {SEALED}) AS quartiles
    FROM proposals b
    JOIN projects p ON p.id = b.project_id
    WHERE {ACTIVE} AND b.status <> 'withdrawn'
    GROUP BY 1, 2
), offered AS (
    SELECT day, sum(proposals)::bigint AS proposals,
           {BY_CURRENCY.format("bids")} FILTER (WHERE bidders >= 5) AS bids
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
"""  # noqa: S608 - no value of anybody's is in it

COMMENTS = (
    ("MATERIALIZED VIEW stats_skills",
     "how much each skill is wanted, how many have it, and for what"),
    ("MATERIALIZED VIEW stats_marketplace",
     "what began on each day (UTC), and what was agreed on"),
)  # fmt: skip
INDEXES = (
    ("UNIQUE INDEX", "uq_stats_skills_id", "stats_skills (id)",
     "GET /stats/skills?skill=; the refresh"),
    ("INDEX", "idx_stats_skills_demand", "stats_skills (demand, id)",
     "GET /stats/skills?sort=demand, both ways"),
    ("INDEX", "idx_stats_skills_supply", "stats_skills (supply, id)",
     "GET /stats/skills?sort=supply, both ways"),
    ("INDEX", "idx_stats_skills_name", "stats_skills (lower(name), id)",
     "GET /stats/skills?sort=name"),
    ("UNIQUE INDEX", "uq_stats_marketplace_day", "stats_marketplace (day)",
     "GET /stats/marketplace; refresh"),
)  # fmt: skip


# Whoever might read the views still may.
RIGHTS = """
DO $$
DECLARE
    given record;
BEGIN
    FOR given IN
        SELECT c.relname, a.privilege_type,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
                   AS grantee
        FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
        WHERE c.oid IN ('stats_skills'::regclass, 'stats_marketplace'::regclass)
          AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON %I TO %s',
                       given.privilege_type, given.relname || '_new', given.grantee);
    END LOOP;
END
$$
"""


def upgrade() -> None:
    """Fill the new views beside the old ones' readers, and take their names then."""
    for statement in (SKILLS, MARKETPLACE, RIGHTS):
        op.execute(statement)
    for name in ("stats_skills", "stats_marketplace"):
        op.execute(f"DROP MATERIALIZED VIEW {name}")
        op.execute(f"ALTER MATERIALIZED VIEW {name}_new RENAME TO {name}")
    for what, comment in COMMENTS:
        op.execute(f"COMMENT ON {what} IS '{comment}'")
    for kind, name, on, serves in INDEXES:
        op.execute(f"CREATE {kind} {name} ON {on}")
        op.execute(f"COMMENT ON INDEX {name} IS '{serves}'")
