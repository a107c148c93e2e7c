"""Models of a finished run as folders to give away: plain transformers directories with model card, settings, licence.

scripts/export.py --run runs/tiny                                  exports/ppo_ptx and exports/reward
scripts/export.py --run runs/tiny --models sft,ppo,ppo_ptx,reward  others (also init)
scripts/export.py --run runs/x --license mit --license-file FILE   the licence you state, for data of your own
scripts/export.py --run runs/x --push-to-hub OWNER/NAME            upload too, as private OWNER/NAME-ppo_ptx and so on

Nothing is uploaded unless --push-to-hub is given.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.core.errors import UserError
from utils.pipeline import open_run
from utils.publish.model_cards import WHAT, export, given_licence, push


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="folder of a finished run, such as runs/tiny or data/lessons")
    parser.add_argument("--models", default="ppo_ptx,reward", help=f"by comma, of {', '.join(WHAT)} (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("exports"), help="folder of the exports (default: %(default)s)")
    parser.add_argument("--license", metavar="ID", help="licence of the weights, such as cc-by-sa-4.0")
    parser.add_argument("--license-file", type=Path, metavar="FILE", help="its text")
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="upload to the Hugging Face hub (default: no)")
    parser.add_argument("--public", action="store_true", help="with --push-to-hub: for everybody to see")
    args = parser.parse_args(arguments)
    if args.license_file and not args.license:
        raise UserError("--license-file needs --license ID, the licence's name.")
    licence = given_licence(args.license, args.license_file) if args.license else None
    names = [name.strip() for name in args.models.split(",") if name.strip()]
    folders = export(open_run(args.run), names, args.out, licence)
    for folder in folders:
        print(f"{folder}: written", flush=True)
    for name, folder in zip(names, folders, strict=True):
        if args.push_to_hub:
            print(f"{push(folder, f'{args.push_to_hub}-{name}', private=not args.public)}: pushed", flush=True)


if __name__ == "__main__":
    sys.exit(main(run))
