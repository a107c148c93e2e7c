"""The reward model, its evaluation, and the choice of the SFT checkpoint by its scores (Eq. 1, C.2, 3.5)."""

from __future__ import annotations

import sys

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.pipeline import pipeline_command

run = pipeline_command(__doc__, ("reward", "sft_select"))

if __name__ == "__main__":
    sys.exit(main(run))
