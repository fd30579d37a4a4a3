"""Alembic's environment for every service; the connection is handed in by `database.Database`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
