"""Prompts (cleaned, split by user), screened simulated labelers, demonstrations (sec. 3.2-3.4, App. A, B)."""

from __future__ import annotations

import sys

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.pipeline import pipeline_command

run = pipeline_command(__doc__, ("prompts", "labelers", "demonstrations"))

if __name__ == "__main__":
    sys.exit(main(run))
