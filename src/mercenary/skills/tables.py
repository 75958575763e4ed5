"""Skills: a reference table, small and held whole by every shard."""

from sqlalchemy import BigInteger, Column, Integer, Sequence, Table, Text, func, text

from mercenary.db.metadata import REFERENCE, index, metadata, moment

skill_ids = Sequence("skills_id_seq", metadata=metadata, data_type=BigInteger())

skills = Table(
    "skills",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    moment("created_at"),
    moment("updated_at"),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("name", Text, nullable=False),
    index(
        "uq_skills_name",
        func.lower(text("name")),
        unique=True,
        serves="one skill a name regardless of case; GET /skills sorted by name",
    ),
    info=REFERENCE,
    comment="what people can do and projects need",
)
