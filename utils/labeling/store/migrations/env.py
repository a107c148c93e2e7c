"""Alembic's entry: runs migrations on the connection that `open_store` gives."""

from __future__ import annotations

from alembic import context

from utils.labeling.store.schema import metadata


def migrate() -> None:
    """Run the migrations. render_as_batch: SQLite changes a table by copying it."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


if hasattr(context, "config"):  # Alembic executes this file; anybody else only imports it
    migrate()
