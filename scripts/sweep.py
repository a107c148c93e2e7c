"""Reference results: seeds, model sizes, over-optimization, alignment tax, LoRA. Writes results/<profile>/
and README's table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.config import Config, load_config, shortened
from utils.core.cli import main
from utils.core.io import read_text, write_json, write_text
from utils.core.runtime import ROOT
from utils.evaluation import Summary
from utils.experiments import (
    collect_seeds,
    compare_lora,
    cost_line,
    ladder,
    overoptimise,
    replace_block,
    results_table,
    tax_sweep,
    timing,
)
from utils.lessons.shipped_run import shipped
from utils.pipeline import Run, run_pipeline
from utils.report import figures as plotting

SIZES = ("mini", "small", "large")
PARTS = ("all", "runs", "collect", "ladder", "overoptimisation", "timing", "tax", "lora")
TAX_KNOBS = {"gamma_ptx": (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), "beta": (0.5, 2.0)}
TAX_SEEDS, TAX_ROUNDS = (1, 2, 3), 24
LORA_SEEDS, LORA_RANK = (1, 2, 3), 8


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--seeds", default="1,2,3,4,5", help="seeds, separated by commas (default: %(default)s)")
    parser.add_argument("--work", default="runs/sweep", help="folder of the runs (default: %(default)s)")
    parser.add_argument("--part", choices=PARTS, default="all")
    args = parser.parse_args(arguments)
    seeds, work, folder = [int(s) for s in args.seeds.split(",")], Path(args.work), ROOT / "results" / args.profile
    configs = {seed: load_config(args.profile, {"seed": seed, "out": str(work / f"seed_{seed}")}) for seed in seeds}
    if args.part in ("all", "runs"):
        for config in configs.values():
            run_pipeline(config, config.out)
    if args.profile != "tiny" and args.part == "all":  # the other parts are about the tiny world
        args.part = "collect"
    first = configs[seeds[0]]
    if args.part in ("all", "ladder"):
        models = {size: ROOT / "data" / "models" / size for size in SIZES}
        rows = ladder(Run(first.out, first), models, folder, work / "ladder")
        plotting.save_figure(plotting.ladder(rows), folder / "ladder.png")
    if args.part in ("all", "overoptimisation"):
        _overoptimise(first, folder, work)
    if args.part == "timing":  # of a run that had the machine to itself, so never part of "all"
        readme = ROOT / "README.md"
        write_text(readme, replace_block(read_text(readme), "cost", cost_line(timing(Path(first.out), folder))))
    if args.part in ("all", "tax"):  # from the shipped run, so that it needs no other
        _tax(shipped(), work)
    if args.part in ("all", "collect"):
        _collect([Path(c.out) for c in configs.values()], folder, args.profile)
    if args.part in ("all", "lora"):  # after the runs of the same seeds are collected
        _lora(args.profile, [seed for seed in seeds if seed in LORA_SEEDS], folder, work)


def _overoptimise(config: Config, folder: Path, work: Path) -> None:
    """No KL penalty and a larger learning rate: the proxy reward rises while gold falls."""
    ppo = replace(config.ppo, beta=0.0, learning_rate=5e-4, rounds=80, eval_every_rounds=4, ema_decay=0.0)
    rows = overoptimise(Run(config.out, config), ppo, folder, work / "overoptimisation")
    plotting.save_figure(plotting.overoptimisation(rows), folder / "overoptimisation.png")


def _tax(run: Run, work: Path) -> None:
    """Short PPO runs against gamma (PPO-ptx) and, without the pretraining term, against beta."""
    folder = ROOT / "results" / "lessons"
    cfg = shortened(replace(run.config.ppo_ptx, gamma_ptx=0.0), TAX_ROUNDS)
    rows = tax_sweep(run, cfg, TAX_KNOBS, TAX_SEEDS, folder, work / "tax")
    plotting.save_figure(plotting.tax_sweep(rows, "gamma_ptx"), folder / "tax_sweep.png")


def _lora(profile: str, seeds: Sequence[int], folder: Path, work: Path) -> None:
    """The pipeline with LoRA adapters in every training stage, all other settings as they are."""
    for seed in seeds:
        config = load_config(profile, {"seed": seed, "compute.lora_rank": LORA_RANK, "out": str(work / f"lora_{seed}")})
        run_pipeline(config, config.out)
    compare_lora([work / f"lora_{seed}" for seed in seeds], folder)


def _collect(runs: list[Path], folder: Path, profile: str) -> None:
    if len(runs) == 1:  # no interval without a second seed
        found = Summary.load(runs[0] / "summary.json").flat()
        write_json(folder / "seeds.json", {str(found["seed"]): found})
        return
    results = collect_seeds(runs, folder) if profile == "tiny" else collect_seeds(runs, folder, ())
    means = {k: v["mean"] for k, v in results["metrics"].items()}
    plotting.save_figure(plotting.gold_by_policy(means, maximum=10.0), folder / "gold_by_policy.png")
    plotting.save_figure(plotting.win_rates(means), folder / "win_rates.png")
    if profile != "tiny":  # README's tables are of the tiny profile
        return
    table = results_table(results)
    readme = ROOT / "README.md"
    text = replace_block(read_text(readme), "results", table)
    write_text(readme, text)
    print(table)


if __name__ == "__main__":
    sys.exit(main(run))
