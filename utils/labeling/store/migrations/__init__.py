"""Alembic's migrations, shipped inside the package: `open_store` runs those that a store has not had."""
