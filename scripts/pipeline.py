"""The whole pipeline from prompts to the report: `python scripts/pipeline.py --profile tiny --seed 1 --out runs/tiny`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.cli import add_settings, given_settings, main
from utils.config import load_config
from utils.pipeline import STAGES, run_pipeline


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_settings(parser)
    parser.add_argument("--only", help="stages to run, by comma: " + ", ".join(s.name for s in STAGES))
    parser.add_argument("--force", action="store_true", help="run stages again even if nothing changed")
    args = parser.parse_args(arguments)
    config = load_config(args.profile, given_settings(args))
    done = run_pipeline(config, config.out, tuple(args.only.split(",")) if args.only else None, args.force)
    if (done.out_dir / "report.html").exists():
        print(f"Report: {done.out_dir / 'report.html'}   figures: {done.out_dir / 'summary.json'}")


if __name__ == "__main__":
    sys.exit(main(run))
