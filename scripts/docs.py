"""Write the generated parts of docs/ again: examples of the tiny world, the rubric's table, the glossary of PPO's log."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from _bootstrap import ROOT  # first: makes `utils` ours

from utils.core.cli import main
from utils.core.io import read_text, write_text
from utils.experiments import BLOCKS, filled


def run(arguments: Sequence[str]) -> None:
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    for name in BLOCKS:
        write_text(ROOT / name, filled(name, read_text(ROOT / name)))
        print(f"{name}: written", flush=True)


if __name__ == "__main__":
    sys.exit(main(run))
