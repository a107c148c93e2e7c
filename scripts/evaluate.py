"""Final evaluation on the test prompts, summary.json and report.html (sec. 3.6, 4)."""

from __future__ import annotations

import sys

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.pipeline import pipeline_command

run = pipeline_command(__doc__, ("evaluate", "report"))

if __name__ == "__main__":
    sys.exit(main(run))
