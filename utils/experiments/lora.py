"""LoRA adapters compared with training all weights, over the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.core.errors import UserError
from utils.core.io import read_json, write_json
from utils.core.runtime import machine, versions
from utils.evaluation.statistics import spread_over_seeds
from utils.evaluation.summary import Summary
from utils.pipeline.run import open_run

LORA_METRICS = (
    "gold.sft.mean", "gold.ppo.mean", "gold.ppo_ptx.mean", "gold_gain.ppo_vs_sft.mean", "reward_model.accuracy_labels",
    "reward_model.accuracy_gold", "kl.ppo", "pretraining_loss.sft", "pretraining_loss.ppo", "pretraining_loss.ppo_ptx",
)  # fmt: skip


def compare_lora(runs: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Runs with LoRA adapters against those of the same seeds that train all weights (folder/seeds.json): lora.json with
    both means and the paired difference of every metric, each with its t-interval over seeds.

    Raises UserError if a run has no partner or trained all weights itself.
    """
    adapted = [Summary.load(run / "summary.json").flat() for run in runs]
    whole = {seed: Summary.of(keys).flat() for seed, keys in read_json(folder / "seeds.json").items()}
    ranks = {open_run(run).config.compute.lora_rank for run in runs}
    missing = [s["seed"] for s in adapted if str(s["seed"]) not in whole]
    if missing or len(ranks) > 1 or 0 in ranks:
        raise UserError(
            f"{folder / 'seeds.json'} has no seed {missing[0]}: run it without LoRA first (scripts/sweep.py)." if missing
            else f"The runs have compute.lora_rank {sorted(ranks)}: give runs of one rank above 0."
        )  # fmt: skip
    rows = []
    for key in LORA_METRICS:
        pairs = [(s[key], whole[str(s["seed"])][key]) for s in adapted]
        found = {"lora": [a for a, _ in pairs], "all_weights": [b for _, b in pairs], "difference": [a - b for a, b in pairs]}
        rows.append({"metric": key, **{name: spread_over_seeds(values)._asdict() for name, values in found.items()}})
    about = {"seeds": [s["seed"] for s in adapted], "lora_rank": ranks.pop(), "machine": machine(), "versions": versions()}
    record = {**about, "metrics": rows}
    write_json(folder / "lora.json", record)
    return record
