"""Copy the files of a finished run that the notebooks need into data/lessons (another profile: data/PROFILE)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.lessons.shipped_run import ship


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, type=Path, help="folder of a finished run")
    args = parser.parse_args(arguments)
    found = ship(args.run)
    print(f"{found['folder']}: {len(found['files'])} files, {found['bytes'] / 1e6:.1f} MB, digest {found['digest'][:12]}")


if __name__ == "__main__":
    sys.exit(main(run))
