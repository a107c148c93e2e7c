"""Public human data: list the datasets, show a data card, or download one and convert it to the rows that stages read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.config import load_config
from utils.core.cli import main
from utils.core.io import read_text
from utils.core.runtime import ROOT
from utils.data.hub import PREFIX, parse_source
from utils.data.hub.convert import convert, counts, overview
from utils.report import Table, print_table


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", help="NAME, NAME@REVISION or NAME=PATH; without it, the list of names")
    parser.add_argument("--card", action="store_true", help="show the data card and download nothing")
    parser.add_argument("--out", help="folder for the files (default: runs/hub/NAME)")
    parser.add_argument("--rows", type=int, help="maximum number of rows per file (default: all)")
    parser.add_argument("--profile", default="gpt2", help="profile whose settings clean the prompts (default: %(default)s)")
    args = parser.parse_args(arguments)
    if args.source is None:
        print_table(Table.of(overview(), digits=1))
        return
    source = parse_source(f"{PREFIX}{args.source.removeprefix(PREFIX)}")
    if args.card:
        print(read_text(ROOT / source.dataset.card))
        return
    out = Path(args.out or f"runs/hub/{source.dataset.name}")
    records = convert(source.text, out, load_config(args.profile).data, args.rows)
    print_table(Table.of(counts(records), digits=1))
    print(f"Written to {out}: use a file with --{records[0]['kind']} (or its kind's option); source.json names its source.")


if __name__ == "__main__":
    sys.exit(main(run))
