"""K outputs per prompt, sampled and ranked by simulated labelers, or your own comparisons (sec. 3.5)."""

from __future__ import annotations

import sys

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.pipeline import pipeline_command

run = pipeline_command(__doc__, ("comparisons",))

if __name__ == "__main__":
    sys.exit(main(run))
