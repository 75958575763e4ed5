"""Each index says in the database which query it serves, by the name that `db explain` takes.

Skills are few: whatever is looked for among them, PostgreSQL looks at all. So nothing used the
index for it.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

COMMENTS = {
    "cdn.due": (
        ("idx_cdn_purges_due",
         "taking what a target is to be told"),
    ),
    "auth.disable": (
        ("idx_credentials_user_id",
         "the credentials of a user: deactivation, erasure"),
    ),
    "idempotency.expired": (
        ("idx_idempotency_keys_created",
         "the clean-up of keys that have expired"),
    ),
    "projects.select_project_pages": (
        ("idx_project_skills_skill",
         "GET /projects?skill="),
        ("idx_projects_budget",
         "GET /projects?sort=budget, min_budget and max_budget"),
        ("idx_projects_client_budget",
         "GET /projects?client_id=, sorted by budget"),
        ("idx_projects_client_created",
         "GET /projects?client_id="),
        ("idx_projects_created",
         "GET /projects, newest or oldest first"),
        ("idx_projects_published_budget",
         "GET /projects for everybody by budget, however many drafts there are"),
        ("idx_projects_published_created",
         "GET /projects for everybody, newest or oldest first, however many drafts there are"),
        ("idx_projects_search",
         "GET /projects?q="),
        ("idx_projects_status_budget",
         "GET /projects?status=, sorted by budget; facets by status and currency"),
        ("idx_projects_status_created",
         "GET /projects?status=, newest or oldest first"),
    ),
    "proposals.select_proposal_pages": (
        ("idx_proposals_freelancer_bid",
         "GET /users/me/proposals, sorted by bid"),
        ("idx_proposals_freelancer_created",
         "GET /users/me/proposals"),
        ("idx_proposals_project_created",
         "GET /projects/{id}/proposals; the pending bids at an acceptance"),
    ),
    "unique": (
        ("uq_proposals_accepted",
         "at most one hired freelancer a project"),
        ("uq_skills_name",
         "one skill a name regardless of case; GET /skills sorted by name"),
        ("uq_stats_marketplace_day",
         "GET /stats/marketplace; refresh"),
        ("uq_stats_skills_id",
         "GET /stats/skills?skill=; the refresh"),
        ("idx_users_email",
         "one user an e-mail address, regardless of case"),
    ),
    "auth.delete_tokens": (
        ("idx_refresh_tokens_session",
         "the tokens of sessions that are over, to be removed with them"),
    ),
    "auth.dead": (
        ("idx_sessions_over",
         "the sessions that are over, to be removed"),
    ),
    "stats.select_skill_stats_pages": (
        ("idx_stats_skills_demand",
         "GET /stats/skills?sort=demand, both ways"),
        ("idx_stats_skills_name",
         "GET /stats/skills?sort=name"),
        ("idx_stats_skills_supply",
         "GET /stats/skills?sort=supply, both ways"),
    ),
    "users.select_public_pages": (
        ("idx_user_skills_skill",
         "GET /users?skill="),
        ("idx_users_country_created",
         "GET /users?country="),
        ("idx_users_country_name",
         "GET /users?country=, sorted by name"),
        ("idx_users_country_rate",
         "GET /users?country=, sorted by rate"),
        ("idx_users_created",
         "GET /users?sort=created_at, both ways"),
        ("idx_users_hourly_rate",
         "GET /users?sort=-hourly_rate, those without a rate last"),
        ("idx_users_name",
         "GET /users?sort=name"),
        ("idx_users_role_created",
         "GET /users?role="),
        ("idx_users_role_name",
         "GET /users?role=, sorted by name"),
        ("idx_users_role_rate",
         "GET /users?role=, sorted by rate"),
        ("idx_users_search",
         "GET /users?q="),
    ),
    "users.select_public_pages_counts": (
        ("idx_active_users",
         "the total of GET /users for everybody; active users by e-mail address"),
    ),
    "users.erasable": (
        ("idx_users_erasable",
         "deactivated accounts, to be erased"),
    ),
}  # fmt: skip


def upgrade() -> None:
    """Tell it in the comments, and drop the one that had nothing to tell."""
    op.execute("DROP INDEX idx_skills_name_similar")
    for query, indexes in COMMENTS.items():
        for name, serves in indexes:
            quoted = f"{query}: {serves}".replace("'", "''")
            op.execute(f"COMMENT ON INDEX {name} IS '{quoted}'")
