"""Idempotency keys: a write that is sent twice happens once."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = """
CREATE TABLE idempotency_keys (
    user_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    key_hash bytea NOT NULL,
    fingerprint bytea NOT NULL,
    answer bytea NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (user_id, key_hash)
);
COMMENT ON TABLE idempotency_keys IS 'writes that were answered, to be answered alike for 24 hours';
COMMENT ON COLUMN idempotency_keys.user_id IS '0: a guest';
COMMENT ON COLUMN idempotency_keys.key_hash IS 'of the caller, the route and the key';
COMMENT ON COLUMN idempotency_keys.fingerprint IS 'of the request, by which another one is told';
COMMENT ON COLUMN idempotency_keys.answer IS 'sealed by a key that only the request itself gives';
CREATE INDEX idx_idempotency_keys_created ON idempotency_keys (created_at);
COMMENT ON INDEX idx_idempotency_keys_created IS 'the clean-up of keys that have expired';
"""


def upgrade() -> None:
    """Create the table. The driver takes one statement at a time."""
    for statement in filter(None, (part.strip() for part in SCHEMA.split(";\n"))):
        op.execute(statement)
