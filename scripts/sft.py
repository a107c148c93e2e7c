"""Supervised fine-tuning: the 16-epoch SFT model and the model PPO starts from (sec. 3.5, C.1, C.3)."""

from __future__ import annotations

import sys

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.pipeline import pipeline_command

run = pipeline_command(__doc__, ("sft", "init"))

if __name__ == "__main__":
    sys.exit(main(run))
