"""Evaluate policies on the paper's public benchmarks (App. D): bias, multiple choice, answers from a passage.

scripts/public_evaluation.py --run runs/gpt2 --data hub:crows_pairs hub:rte     base, SFT, PPO and PPO-ptx of a run
scripts/public_evaluation.py DIR1 DIR2 --data hub:hellaswag --shots 5 --limit 1000
scripts/public_evaluation.py --run runs/x --data hub:winogender=all_sentences.tsv    a local file

Writes the scores of every item and results.json to OUT (default: RUN/public, or runs/public), and skips items that
are there already. A model as small as the tiny world's is at chance on all of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.io import write_json
from utils.core.runtime import choose_device, locate, machine, versions
from utils.evaluation.public import evaluate_policies, load_public
from utils.pipeline import open_run
from utils.publish.chat import labelled_policies, named_folders
from utils.report import Table, print_table


def run(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    policies = labelled_policies(open_run(locate(args.run))) if args.run else named_folders(args.policies)
    out = args.out or (Path(args.run) / "public" if args.run else Path("runs/public"))
    benchmarks = [load_public(text, args.limit, args.shots) for text in args.data]
    rows = evaluate_policies(policies, benchmarks, out, choose_device(args.device), args.batch_size)
    write_json(out / "results.json", {"machine": machine(), "versions": versions(), "rows": rows})
    shown = [
        {
            "benchmark": row["benchmark"], "metric": row["metric"], "policy": row["policy"], "n": row["n"],
            "mean": f"{row['mean']:.3f} ± {row['half_width']:.3f}",
            "chance": "" if row["chance"] is None else f"{row['chance']:.3f}",
            "beside the first": f"{row['difference']:+.3f} ± {row['difference_half_width']:.3f}",
        }
        for row in rows
    ]  # fmt: skip
    print_table(Table.of(shown))
    print(f"Means with 95 % intervals over items; {out / 'results.json'}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", nargs="*", metavar="DIR", help="model folders")
    parser.add_argument("--run", metavar="DIR", help="the policies of a finished run")
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME", help="hub:NAME, hub:NAME@REVISION or hub:NAME=FILE")
    parser.add_argument("--limit", type=int, default=500, help="items of each benchmark (default: %(default)s)")
    parser.add_argument("--shots", type=int, default=0, help="examples before each question, few-shot (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--batch-size", type=int, default=32, help="sequences per pass (default: %(default)s)")
    args = parser.parse_args(arguments)
    if bool(args.run) == bool(args.policies):
        raise UserError("Name the policies: --run with the folder of a run, or the folders of models, not both.")
    if args.limit < 1 or args.shots < 0 or args.batch_size < 1:
        raise UserError("--limit and --batch-size must be 1 or more, --shots 0 or more.")
    return args


if __name__ == "__main__":
    sys.exit(main(run))
