"""Alembic's entry: runs the migrations on the connection it is given, batch mode for SQLite's sake."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, render_as_batch=True, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
