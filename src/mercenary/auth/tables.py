"""Credentials, sessions and refresh tokens.

E-mail addresses are unique in one place, `credentials`, which is spread by address; sessions and
tokens are spread by user, so a rotation or a logout stays on one shard.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    LargeBinary,
    Sequence,
    Table,
    Text,
    func,
    text,
)

from mercenary.db.metadata import CROSSING, by, index, metadata, moment

session_ids = Sequence("sessions_id_seq", metadata=metadata, data_type=BigInteger())

credentials = Table(
    "credentials",
    metadata,
    Column("email", Text, primary_key=True, comment="in lower case"),
    # Deferred, because the address is claimed before the user it belongs to is stored.
    Column(
        "user_id",
        BigInteger,
        ForeignKey(
            "users.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED", info=CROSSING
        ),
        nullable=False,
    ),
    moment("updated_at"),
    Column("password_hash", Text, nullable=False, comment="argon2id; empty: nobody can sign in"),
    CheckConstraint("email = lower(email)", name="email_lower"),
    index(
        "idx_credentials_user_id",
        "user_id",
        query="auth.disable",
        serves="the credentials of a user: deactivation, erasure",
    ),
    info=by("email"),
    comment="how an e-mail address proves who it is; the only place where addresses are unique",
)

sessions = Table(
    "sessions",
    metadata,
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    moment("created_at"),
    moment("expires_at", default=False),
    moment("ended_at", nullable=True),
    index(
        "idx_sessions_over",
        func.coalesce(text("ended_at"), text("expires_at")),
        query="auth.dead",
        serves="the sessions that are over, to be removed",
    ),
    info=by("user_id"),
    comment="signed-in devices; over when ended_at is set or expires_at has passed",
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("token_hash", LargeBinary, primary_key=True, comment="SHA-256 of the secret"),
    Column("session_id", BigInteger, nullable=False),
    moment("created_at"),
    moment("expires_at", default=False),
    moment("used_at", nullable=True),
    ForeignKeyConstraint(
        ["user_id", "session_id"], ["sessions.user_id", "sessions.id"], ondelete="CASCADE"
    ),
    index(
        "idx_refresh_tokens_session",
        "user_id",
        "session_id",
        query="auth.delete_tokens",
        serves="the tokens of sessions that are over, to be removed with them",
    ),
    info=by("user_id"),
    comment="rotating tokens; one that is used a second time ends its session",
)
