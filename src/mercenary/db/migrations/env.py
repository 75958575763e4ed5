"""Runs migrations on the connection that `mercenary.db.migrate` hands over.

There is no other way in: the lock, the timeouts and the transaction are set up there.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("metadata"),
)
context.run_migrations()
