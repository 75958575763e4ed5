"""What a CDN has still to be told."""

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

from mercenary.db.metadata import by, index, metadata, moment

# A tag has one row for each target, so that a CDN that is away for a day costs no more rows than
# there are tags. A busy list's row changes ten times a second, hence the eager vacuum.
cdn_purges = Table(
    "cdn_purges",
    metadata,
    Column("target", Text, nullable=False, comment="who is told, such as http://10.0.0.7:6081"),
    Column(
        "tag", Text, nullable=False, comment="what to forget, such as project:17; *: everything"
    ),
    moment("due_at"),
    Column(
        "asked",
        BigInteger,
        nullable=False,
        server_default=text("1"),
        comment="how often it was asked for while it waited: tells a new wish from the one told",
    ),
    Column(
        "told",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        comment="how often it was told since; each wish is told more than once",
    ),
    Column(
        "attempts",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="calls since the last that succeeded",
    ),
    PrimaryKeyConstraint("target", "tag"),
    index(
        "idx_cdn_purges_due",
        "target",
        "due_at",
        query="cdn.due",
        serves="taking what a target is to be told",
    ),
    info=by("target"),
    comment="what shared caches outside have still to forget",
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0",
        "autovacuum_vacuum_threshold": "1000",
    },
)
