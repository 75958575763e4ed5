"""Every filter that leads a list has an index for every sort of that list."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = (
    ("idx_projects_status_budget", "projects (status, budget, id)",
     "GET /projects?status=, sorted by budget"),
    ("idx_projects_client_budget", "projects (client_id, budget, id)",
     "GET /projects?client_id=, sorted by budget"),
    ("idx_proposals_freelancer_bid", "proposals (freelancer_id, bid, id)",
     "GET /users/me/proposals, sorted by bid"),
    ("idx_users_role_name", "users (role, name, id)", "GET /users?role=, sorted by name"),
    ("idx_users_role_rate", "users (role, coalesce(hourly_rate, 0), id)",
     "GET /users?role=, sorted by rate"),
    ("idx_users_country_name", "users (country, name, id)", "GET /users?country=, sorted by name"),
    ("idx_users_country_rate", "users (country, coalesce(hourly_rate, 0), id)",
     "GET /users?country=, sorted by rate"),
)  # fmt: skip


def upgrade() -> None:
    """Add the indexes."""
    for name, on, serves in INDEXES:
        op.execute(f"CREATE INDEX {name} ON {on}")
        op.execute(f"COMMENT ON INDEX {name} IS '{serves}'")
