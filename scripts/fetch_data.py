"""Public human data: list it, show its card, download it and convert it to the rows that every stage reads."""

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
    parser.add_argument("--rows", type=int, help="at most so many rows a file (default: all)")
    parser.add_argument("--profile", default="gpt2", help="whose cleaning of prompts is used (default: %(default)s)")
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
    print(f"Written to {out}: give a file of it with --{records[0]['kind']} and its like; source.json says where it is from.")


if __name__ == "__main__":
    sys.exit(main(run))
