"""Users and what they can do. Both are spread by user.

Columns of fixed width stand first, which saves PostgreSQL the padding between them.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    Integer,
    Sequence,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR

from mercenary.db.metadata import MONEY, by, index, metadata, moment, one_of

user_ids = Sequence("users_id_seq", metadata=metadata, data_type=BigInteger())

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    moment("created_at"),
    moment("updated_at"),
    moment("deactivated_at", nullable=True),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("role", Text, nullable=False),
    Column("email", Text, comment="as given; unique regardless of case"),
    Column("name", Text, nullable=False),
    Column("country", Text, comment="ISO 3166-1 alpha-2"),
    Column("currency", Text, nullable=False, server_default=text("'USD'"), comment="ISO 4217"),
    Column("hourly_rate", MONEY),
    Column("headline", Text, nullable=False, server_default=text("''")),
    Column("bio", Text, nullable=False, server_default=text("''")),
    Column(
        "search",
        TSVECTOR,
        Computed(
            "((setweight(to_tsvector('english'::regconfig, name), 'A'::\"char\")"
            " || setweight(to_tsvector('english'::regconfig, headline), 'B'::\"char\"))"
            " || setweight(to_tsvector('english'::regconfig, bio), 'C'::\"char\"))",
            persisted=True,
        ),
    ),
    moment("erased_at", nullable=True),
    one_of("role", "client", "freelancer", "admin"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
    CheckConstraint("country ~ '^[A-Z]{2}$'", name="country"),
    CheckConstraint("hourly_rate > 0", name="hourly_rate"),
    CheckConstraint("is_active = (deactivated_at IS NULL)", name="deactivated_at"),
    CheckConstraint("(email IS NULL) = (erased_at IS NOT NULL)", name="email"),
    CheckConstraint("erased_at >= deactivated_at", name="erased_at"),
    index(
        "idx_users_email",
        func.lower(text("email")),
        unique=True,
        crosses_shards=True,
        serves="one user an e-mail address, regardless of case",
    ),
    index(
        "idx_active_users",
        "email",
        postgresql_where=text("is_active"),
        query="users.select_public_pages_counts",
        serves="the total of GET /users for everybody; active users by e-mail address",
    ),
    index(
        "idx_users_created",
        "created_at",
        "id",
        query="users.select_public_pages",
        serves="GET /users?sort=created_at, both ways",
    ),
    index(
        "idx_users_name",
        "name",
        "id",
        query="users.select_public_pages",
        serves="GET /users?sort=name",
    ),
    index(
        "idx_users_hourly_rate",
        func.coalesce(text("hourly_rate"), text("0")),
        "id",
        query="users.select_public_pages",
        serves="GET /users?sort=-hourly_rate, those without a rate last",
    ),
    index(
        "idx_users_role_created",
        "role",
        "created_at",
        "id",
        query="users.select_public_pages",
        serves="GET /users?role=",
    ),
    index(
        "idx_users_role_name",
        "role",
        "name",
        "id",
        query="users.select_public_pages",
        serves="GET /users?role=, sorted by name",
    ),
    index(
        "idx_users_role_rate",
        "role",
        func.coalesce(text("hourly_rate"), text("0")),
        "id",
        query="users.select_public_pages",
        serves="GET /users?role=, sorted by rate",
    ),
    index(
        "idx_users_country_created",
        "country",
        "created_at",
        "id",
        query="users.select_public_pages",
        serves="GET /users?country=",
    ),
    index(
        "idx_users_country_name",
        "country",
        "name",
        "id",
        query="users.select_public_pages",
        serves="GET /users?country=, sorted by name",
    ),
    index(
        "idx_users_country_rate",
        "country",
        func.coalesce(text("hourly_rate"), text("0")),
        "id",
        query="users.select_public_pages",
        serves="GET /users?country=, sorted by rate",
    ),
    index(
        "idx_users_erasable",
        "deactivated_at",
        postgresql_where=text("deactivated_at IS NOT NULL AND erased_at IS NULL"),
        query="users.erasable",
        serves="deactivated accounts, to be erased",
    ),
    index(
        "idx_users_search",
        "search",
        postgresql_using="gin",
        query="users.select_public_pages",
        serves="GET /users?q=",
    ),
    info=by("id"),
    comment="people: clients, freelancers, admins",
)

user_skills = Table(
    "user_skills",
    metadata,
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("skill_id", BigInteger, ForeignKey("skills.id"), primary_key=True),
    Column("level", SmallInteger, nullable=False),
    CheckConstraint("level BETWEEN 1 AND 5", name="level"),
    index(
        "idx_user_skills_skill",
        "skill_id",
        "user_id",
        query="users.select_public_pages",
        serves="GET /users?skill=",
    ),
    info=by("user_id"),
    comment="what a user can do, and how well (1 to 5)",
)
