"""The tiny base models and their tokenizer from scratch, then the judge from which reward models start:
`scripts/pretrain.py --size all --out data/models`.

A killed run continues where it stopped (--work holds its state), and a finished size is not trained again. Each
size becomes a Hugging Face folder with a model card.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.config import load_config
from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.io import disk_errors, read_json, write_json
from utils.core.runtime import machine, set_threads, versions
from utils.evaluation import reading_curve, text_digest, write_card, write_judge_card
from utils.pretraining import (
    JUDGES,
    READERS,
    SIZE_FILE,
    SIZES,
    JudgeConfig,
    PretrainConfig,
    pretrain,
    pretrain_judge,
    tokenizer_and_rows,
)
from utils.worlds import known_world


def run(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    set_threads(args.threads)
    for name in SIZES if args.size == "all" else (args.size,):
        cfg, target = {**SIZES, **READERS, **JUDGES}[name], args.out / name
        work = args.work or Path("runs/pretrain") / text_digest(known_world(cfg.world))[:8]
        if isinstance(cfg, JudgeConfig):
            make_judge(cfg, work / name, args)
            continue
        if args.curve:
            rows = reading_curve(work / name, known_world(cfg.world), load_config("tiny").data)
            write_json(args.curve, {"size": name, "machine": machine(), **versions(), "snapshots": rows})
            print(f"{args.curve}: {len(rows)} snapshots of {name}", flush=True)
            continue
        if args.cards_only:
            if not target.is_dir():
                raise UserError(f"{target} does not exist: make it with --size {name}, or leave it out.")
            facts = write_card(cfg, target)
        else:
            facts = write_card(cfg, target, train(cfg, work / name, target, args.seed))
        metrics = facts["figures"]
        print(f"{target}: {metrics['parameters']:,} parameters, pretraining loss {metrics['pretraining_loss']:.3f}", flush=True)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size", choices=(*SIZES, *READERS, *JUDGES, "all"), default="all", help="which base (default: all that are shipped)"
    )
    parser.add_argument("--out", type=Path, default=Path("data/models"), help="models go to OUT/SIZE")
    parser.add_argument(
        "--work", type=Path, help="state of training (default: runs/pretrain/, one folder per pretraining text)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of weights and order of rows; shipped models use 1")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; another number changes the rounding")
    parser.add_argument("--cards-only", action="store_true", help="measure and describe the models that OUT has")
    parser.add_argument(
        "--curve",
        type=Path,
        help="write to this file what the snapshots of one size's training in --work can read; no training",
    )
    return parser.parse_args(arguments)


def train(cfg: PretrainConfig, work: Path, target: Path, seed: int) -> dict[str, object]:
    """Train one base in `work` unless it is finished there, copy it to `target`, say how it was made."""
    state = read_json(work / SIZE_FILE) if (work / SIZE_FILE).exists() else {}
    settings = json.loads(json.dumps({**asdict(cfg), "seed": seed}))  # as they are in the file
    if any(state.get(key) != value for key, value in settings.items()):
        tokenizer, rows = tokenizer_and_rows(cfg.world, cfg.documents, cfg.vocabulary, cfg.n_positions)
        pretrain(cfg, work, tokenizer, rows, seed)
        state = read_json(work / SIZE_FILE)
    with disk_errors(target):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(work / "model", target)
    return {key: state[key] for key in ("seconds", "tokens", "machine", "torch") if key in state}


def make_judge(cfg: JudgeConfig, work: Path, args: argparse.Namespace) -> None:
    """Train the judge in `work` from its base, unless it is finished there, copy it to `--out`, and write its card."""
    start, target = args.out / cfg.start, args.out / cfg.name
    if not start.is_dir():
        raise UserError(f"{start} does not exist, and {cfg.name} starts from it: make it with --size {cfg.start} first.")
    training = None if args.cards_only else pretrain_judge(cfg, work, start, args.seed)
    if training is not None:
        with disk_errors(target):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(work / "model", target)
    right = write_judge_card(cfg, target, training)["figures"]
    print(f"{target}: right in {', '.join(f'{share:.2f} ({kind})' for kind, share in right.items())}", flush=True)


if __name__ == "__main__":
    sys.exit(main(run))
