"""The first schema: accounts, skills, projects, proposals.

Written out rather than taken from the tables in the code, because a migration must keep doing what
it did when it was new.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

EXTENSIONS = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    # Only a superuser may create this one, and nothing but the figures needs it.
    """
    DO $$
    BEGIN
        CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
    EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
        RAISE NOTICE 'pg_stat_statements is not available: %', SQLERRM;
    END
    $$
    """,
)

# Ids are drawn in blocks before the insert, so no column has a default that draws one. Columns of
# fixed width stand first, which saves the padding between them.
SCHEMA = """
CREATE SEQUENCE skills_id_seq AS bigint;
CREATE SEQUENCE users_id_seq AS bigint;
CREATE SEQUENCE sessions_id_seq AS bigint;
CREATE SEQUENCE projects_id_seq AS bigint;
CREATE SEQUENCE proposals_id_seq AS bigint;

CREATE TABLE skills (
    id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    name text NOT NULL,
    CONSTRAINT pk_skills PRIMARY KEY (id)
);
COMMENT ON TABLE skills IS 'what people can do and projects need';
CREATE INDEX idx_skills_name_similar ON skills USING gin (name gin_trgm_ops);
COMMENT ON INDEX idx_skills_name_similar IS 'GET /skills?q= by similarity';
CREATE UNIQUE INDEX uq_skills_name ON skills (lower(name));
COMMENT ON INDEX uq_skills_name
    IS 'one skill a name regardless of case; GET /skills sorted by name';

CREATE TABLE users (
    id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deactivated_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    is_active boolean NOT NULL DEFAULT true,
    role text NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    country text,
    currency text NOT NULL DEFAULT 'USD',
    hourly_rate numeric(12, 2),
    headline text NOT NULL DEFAULT '',
    bio text NOT NULL DEFAULT '',
    search tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('english', name), 'A')
        || setweight(to_tsvector('english', headline), 'B')
        || setweight(to_tsvector('english', bio), 'C')
    ) STORED,
    CONSTRAINT pk_users PRIMARY KEY (id),
    CONSTRAINT ck_users_role CHECK (role IN ('client', 'freelancer', 'admin')),
    CONSTRAINT ck_users_currency CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT ck_users_country CHECK (country ~ '^[A-Z]{2}$'),
    CONSTRAINT ck_users_hourly_rate CHECK (hourly_rate > 0),
    CONSTRAINT ck_users_deactivated_at CHECK (is_active = (deactivated_at IS NULL))
);
COMMENT ON TABLE users IS 'people: clients, freelancers, admins';
COMMENT ON COLUMN users.email IS 'as given; unique in credentials, regardless of case';
COMMENT ON COLUMN users.country IS 'ISO 3166-1 alpha-2';
COMMENT ON COLUMN users.currency IS 'ISO 4217';
CREATE INDEX idx_active_users ON users (email) WHERE is_active;
COMMENT ON INDEX idx_active_users IS 'active users by e-mail address';
CREATE INDEX idx_users_country_created ON users (country, created_at, id);
COMMENT ON INDEX idx_users_country_created IS 'GET /users?country=';
CREATE INDEX idx_users_created ON users (created_at, id);
COMMENT ON INDEX idx_users_created IS 'GET /users?sort=created_at, both ways';
CREATE INDEX idx_users_email ON users (lower(email));
COMMENT ON INDEX idx_users_email IS 'a user by e-mail address';
CREATE INDEX idx_users_hourly_rate ON users (coalesce(hourly_rate, 0), id);
COMMENT ON INDEX idx_users_hourly_rate
    IS 'GET /users?sort=-hourly_rate, those without a rate last';
CREATE INDEX idx_users_name ON users (name, id);
COMMENT ON INDEX idx_users_name IS 'GET /users?sort=name';
CREATE INDEX idx_users_role_created ON users (role, created_at, id);
COMMENT ON INDEX idx_users_role_created IS 'GET /users?role=';
CREATE INDEX idx_users_search ON users USING gin (search);
COMMENT ON INDEX idx_users_search IS 'GET /users?q=';

CREATE TABLE user_skills (
    user_id bigint NOT NULL,
    skill_id bigint NOT NULL,
    level smallint NOT NULL,
    CONSTRAINT pk_user_skills PRIMARY KEY (user_id, skill_id),
    CONSTRAINT ck_user_skills_level CHECK (level BETWEEN 1 AND 5),
    CONSTRAINT fk_user_skills_user_id FOREIGN KEY (user_id)
        REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_user_skills_skill_id FOREIGN KEY (skill_id) REFERENCES skills (id)
);
COMMENT ON TABLE user_skills IS 'what a user can do, and how well (1 to 5)';
CREATE INDEX idx_user_skills_skill ON user_skills (skill_id, user_id);
COMMENT ON INDEX idx_user_skills_skill IS 'GET /users?skill=';

CREATE TABLE credentials (
    email text NOT NULL,
    user_id bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    password_hash text NOT NULL,
    CONSTRAINT pk_credentials PRIMARY KEY (email),
    CONSTRAINT ck_credentials_email_lower CHECK (email = lower(email)),
    CONSTRAINT fk_credentials_user_id FOREIGN KEY (user_id)
        REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
COMMENT ON TABLE credentials
    IS 'how an e-mail address proves who it is; the only place where addresses are unique';
COMMENT ON COLUMN credentials.email IS 'in lower case';
COMMENT ON COLUMN credentials.password_hash IS 'argon2id; empty: nobody can sign in';
CREATE INDEX idx_credentials_user_id ON credentials (user_id);
COMMENT ON INDEX idx_credentials_user_id IS 'the credentials of a user: deactivation, erasure';

CREATE TABLE sessions (
    user_id bigint NOT NULL,
    id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT pk_sessions PRIMARY KEY (user_id, id),
    CONSTRAINT fk_sessions_user_id FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
COMMENT ON TABLE sessions
    IS 'signed-in devices; over when ended_at is set or expires_at has passed';

CREATE TABLE refresh_tokens (
    user_id bigint NOT NULL,
    token_hash bytea NOT NULL,
    session_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    CONSTRAINT pk_refresh_tokens PRIMARY KEY (user_id, token_hash),
    CONSTRAINT fk_refresh_tokens_user_id_session_id FOREIGN KEY (user_id, session_id)
        REFERENCES sessions (user_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE refresh_tokens
    IS 'rotating tokens; one that is used a second time ends its session';
COMMENT ON COLUMN refresh_tokens.token_hash IS 'SHA-256 of the secret';

CREATE TABLE projects (
    id bigint NOT NULL,
    client_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    status text NOT NULL DEFAULT 'draft',
    currency text NOT NULL,
    budget numeric(12, 2) NOT NULL,
    title text NOT NULL,
    description text NOT NULL,
    search tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('english', title), 'A')
        || setweight(to_tsvector('english', description), 'B')
    ) STORED,
    CONSTRAINT pk_projects PRIMARY KEY (id),
    CONSTRAINT ck_projects_status
        CHECK (status IN ('draft', 'open', 'in_progress', 'completed', 'cancelled')),
    CONSTRAINT ck_projects_budget CHECK (budget > 0),
    CONSTRAINT ck_projects_currency CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT fk_projects_client_id FOREIGN KEY (client_id) REFERENCES users (id)
);
COMMENT ON TABLE projects IS 'work that clients want done';
COMMENT ON COLUMN projects.currency IS 'ISO 4217';
CREATE INDEX idx_projects_budget ON projects (budget, id);
COMMENT ON INDEX idx_projects_budget IS 'GET /projects?sort=budget, min_budget and max_budget';
CREATE INDEX idx_projects_client_created ON projects (client_id, created_at, id);
COMMENT ON INDEX idx_projects_client_created IS 'GET /projects?client_id=';
CREATE INDEX idx_projects_created ON projects (created_at, id);
COMMENT ON INDEX idx_projects_created IS 'GET /projects, newest or oldest first';
CREATE INDEX idx_projects_search ON projects USING gin (search);
COMMENT ON INDEX idx_projects_search IS 'GET /projects?q=';
CREATE INDEX idx_projects_status_created ON projects (status, created_at, id);
COMMENT ON INDEX idx_projects_status_created IS 'GET /projects?status=, newest or oldest first';

CREATE TABLE project_skills (
    project_id bigint NOT NULL,
    skill_id bigint NOT NULL,
    CONSTRAINT pk_project_skills PRIMARY KEY (project_id, skill_id),
    CONSTRAINT fk_project_skills_project_id FOREIGN KEY (project_id)
        REFERENCES projects (id) ON DELETE CASCADE,
    CONSTRAINT fk_project_skills_skill_id FOREIGN KEY (skill_id) REFERENCES skills (id)
);
COMMENT ON TABLE project_skills IS 'skills that a project needs';
CREATE INDEX idx_project_skills_skill ON project_skills (skill_id, project_id);
COMMENT ON INDEX idx_project_skills_skill IS 'GET /projects?skill=';

CREATE TABLE proposals (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    freelancer_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    estimated_days integer NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    currency text NOT NULL,
    bid numeric(12, 2) NOT NULL,
    cover_letter text NOT NULL,
    CONSTRAINT pk_proposals PRIMARY KEY (id, project_id),
    CONSTRAINT uq_proposals_project_id_freelancer_id UNIQUE (project_id, freelancer_id),
    CONSTRAINT ck_proposals_status
        CHECK (status IN ('pending', 'accepted', 'rejected', 'withdrawn')),
    CONSTRAINT ck_proposals_bid CHECK (bid > 0),
    CONSTRAINT ck_proposals_estimated_days CHECK (estimated_days > 0),
    CONSTRAINT ck_proposals_currency CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT fk_proposals_project_id FOREIGN KEY (project_id)
        REFERENCES projects (id) ON DELETE CASCADE,
    CONSTRAINT fk_proposals_freelancer_id FOREIGN KEY (freelancer_id) REFERENCES users (id)
);
COMMENT ON TABLE proposals IS 'what freelancers offer for projects';
COMMENT ON COLUMN proposals.currency IS 'the project''s';
CREATE INDEX idx_proposals_freelancer_created ON proposals (freelancer_id, created_at, id);
COMMENT ON INDEX idx_proposals_freelancer_created IS 'GET /users/me/proposals';
CREATE INDEX idx_proposals_project_created ON proposals (project_id, created_at, id);
COMMENT ON INDEX idx_proposals_project_created
    IS 'GET /projects/{id}/proposals; the pending bids at an acceptance';
CREATE UNIQUE INDEX uq_proposals_accepted ON proposals (project_id) WHERE status = 'accepted';
COMMENT ON INDEX uq_proposals_accepted IS 'at most one hired freelancer a project';
"""


def upgrade() -> None:
    """Create everything. The driver takes one statement at a time."""
    statements = (part.strip() for part in SCHEMA.split(";\n"))
    for statement in (*EXTENSIONS, *filter(None, statements)):
        op.execute(statement)
