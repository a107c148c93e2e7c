"""Export models of a finished run: plain transformers directories with model card, settings and licence.

scripts/export.py --run runs/tiny                                  exports/ppo_ptx and exports/reward
scripts/export.py --run runs/tiny --models sft,ppo,ppo_ptx,reward  other models (also init)
scripts/export.py --run runs/x --license mit --license-file FILE   your licence, for models trained on your own data
scripts/export.py --run runs/x --push-to-hub OWNER/NAME            also upload, as private OWNER/NAME-ppo_ptx and so on

Nothing is uploaded unless you pass --push-to-hub.
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
    parser.add_argument("--models", default="ppo_ptx,reward", help=f"some of {', '.join(WHAT)} (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("exports"), help="folder of the exports (default: %(default)s)")
    parser.add_argument("--license", metavar="ID", help="licence of the weights, such as cc-by-sa-4.0")
    parser.add_argument("--license-file", type=Path, metavar="FILE", help="text of the licence")
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="upload to the Hugging Face hub (default: no)")
    parser.add_argument("--public", action="store_true", help="with --push-to-hub: visible to everybody")
    args = parser.parse_args(arguments)
    if args.license_file and not args.license:
        raise UserError("--license-file needs --license ID, the name of the licence.")
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
