"""The whole pipeline from prompts to the report: `scripts/pipeline.py --profile tiny --seed 1 --out runs/tiny`."""

from __future__ import annotations

import sys

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core import workers
from utils.core.cli import main

if __name__ == "__main__":
    workers.warm_up(["utils.pipeline.stages"])  # it imports torch while this process does

from utils.pipeline import pipeline_command  # noqa: E402

run = pipeline_command(__doc__)

if __name__ == "__main__":
    sys.exit(main(run))
