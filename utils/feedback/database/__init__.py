"""A teacher's own database -> the rows that the pipeline reads, without personal data (docs/learner-feedback.md)."""

from __future__ import annotations

from utils.feedback.database.importer import ImportOptions, import_database
from utils.feedback.database.mapping import Mapping, load_mapping

__all__ = ["ImportOptions", "Mapping", "import_database", "load_mapping"]
