"""Alembic's entry: runs migrations on the connection that `open_store` gives."""

from __future__ import annotations

from alembic import context

from utils.labeling.store.schema import metadata

connection = context.config.attributes["connection"]
# render_as_batch: SQLite changes a table by copying it.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
