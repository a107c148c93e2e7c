"""PPO and PPO-ptx against the reward model (Eq. 2, C.3-C.4)."""

from __future__ import annotations

import sys

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.pipeline import pipeline_command

run = pipeline_command(__doc__, ("ppo", "ppo_ptx"), {"--ptx-only": ("ppo_ptx",), "--no-ptx": ("ppo",)})

if __name__ == "__main__":
    sys.exit(main(run))
