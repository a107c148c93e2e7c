"""The whole pipeline from prompts to the report: `scripts/pipeline.py --profile tiny --seed 1 --out runs/tiny`."""

from __future__ import annotations

import sys

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.pipeline import pipeline_command

run = pipeline_command(__doc__)

if __name__ == "__main__":
    sys.exit(main(run))
