"""Sweeps: PPO of a finished run with one setting changed at a time; the alignment tax against gamma and beta (E.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.config import PPOConfig, config_to_dict
from utils.core.io import write_json
from utils.core.runtime import machine, versions
from utils.evaluation.bases import measure_tax
from utils.evaluation.policies import Policy, judged
from utils.evaluation.statistics import mean_se
from utils.pipeline.run import Run
from utils.pipeline.training_stages import train_policy
from utils.worlds.registry import known_world

TAX_METRICS = ("pretraining_loss", "facts", "copying.right_second")


def tax_sweep(
    run: Run, cfg: PPOConfig, knobs: Mapping[str, Sequence[float]], seeds: Sequence[int], folder: Path, work: Path,
    most: int | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """PPO of a finished run with one setting changed at a time: gold on validation prompts, KL and alignment tax.

    knobs: setting of PPOConfig -> its values; other settings are those of `cfg`. seeds: seeds of PPO; all start from the
    same init and reward model. most: number of validation prompts, None for all. Rows {knob, value, seed, ...}, and
    those of base and init (knob "model"), go to tax_sweep.json.
    """
    rows: list[dict[str, Any]] = []
    for name, path in (("base", run.model_dir("base")), ("init", run.model_dir("init"))):
        rows.append({"knob": "model", "value": name, "seed": None, **_tax_row(run, path, most)})
    for knob, values in knobs.items():
        for value in values:
            for seed in seeds:
                again = Run(run.out_dir, replace(run.config, seed=seed))
                place = work / f"{knob}_{value:g}_{seed}"
                last = train_policy(again, place, _with(cfg, knob, value))[-1]
                found = {"score": last["score"], "kl": last["kl_k1"], **_tax_row(again, place / "model", most)}
                rows.append({"knob": knob, "value": value, "seed": seed, **found})
    about = {"seeds": list(seeds), "settings": config_to_dict(cfg), "machine": machine(), "versions": versions()}
    write_json(folder / "tax_sweep.json", {**about, "rows": rows})
    return rows


def _with(cfg: PPOConfig, knob: str, value: Any) -> PPOConfig:
    return replace(cfg, **{knob: value})


def _tax_row(run: Run, path: Path, most: int | None) -> dict[str, float]:
    """Gold on validation prompts at temperature 1 and greedy, and the metrics of the alignment tax, of one model."""
    prompts, tax = run.prompts("valid")[:most], measure_tax(known_world(run.config), path, TAX_METRICS)
    golds = {t: mean_se(judged(Policy("x", path), prompts, run.config, t).golds).mean for t in (1.0, 0.0)}
    return {"gold": golds[1.0], "gold_greedy": golds[0.0], **tax}
