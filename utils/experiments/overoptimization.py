"""A run that over-optimizes on purpose: the proxy reward rises while gold falls (E.7, Fig. 36)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from utils.config import PPOConfig, config_to_dict
from utils.core.io import write_json
from utils.core.runtime import machine, versions
from utils.pipeline.run import Run
from utils.pipeline.training_stages import train_policy
from utils.ppo.metrics import over_kl


def overoptimise(run: Run, cfg: PPOConfig, folder: Path, work: Path) -> list[dict[str, float]]:
    """PPO of a finished run again with other settings (beta 0). Returns rows {round, kl, proxy, gold} (`over_kl`)."""
    rows = over_kl(train_policy(run, work, cfg))
    about = {"seed": run.config.seed, "settings": config_to_dict(replace(run.config, ppo=cfg))["ppo"]}
    write_json(folder / "overoptimisation.json", {**about, "machine": machine(), "versions": versions(), "rows": rows})
    return rows
