"""A teacher's own database -> the rows that the pipeline reads, without personal data (docs/learner-feedback.md)."""

from __future__ import annotations

from utils.feedback.database.importer import ImportOptions, import_database
from utils.feedback.database.mapping import Mapping, load_mapping
from utils.feedback.database.masking import Aliases, Masker, Person

__all__ = ["Aliases", "ImportOptions", "Mapping", "Masker", "Person", "import_database", "load_mapping"]
