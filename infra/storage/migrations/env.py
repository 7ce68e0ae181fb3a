"""Alembic calls this; `infra.storage.migrate` hands it a connection inside a transaction that holds the lock."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
