"""The ladder of model sizes: base, prompted base and SFT of every size on the same test prompts (Fig. 1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.core.io import write_json
from utils.core.runtime import machine, versions
from utils.evaluation.policies import Policy, gold_summary, judged
from utils.models.loading import count_parameters, load_policy
from utils.pipeline.run import Run
from utils.sft.run import SFTData, checkpoint_dir
from utils.sft.train import train_sft


def ladder(run: Run, models: Mapping[str, Path], folder: Path, work: Path) -> list[dict[str, Any]]:
    """Gold of base, prompted base and SFT for every base size on the run's test prompts; and PPO of the run's own size.

    SFT uses the run's demonstrations and settings; its last checkpoint is evaluated. Rows go to ladder.json.
    """
    cfg, prompts = run.config, run.prompts("test")
    data = SFTData(run.demonstrations("train"), run.demonstrations("valid"))
    rows = []
    for name, path in models.items():
        train_sft(work / name, path, data, cfg.sft, run.setup)
        last = checkpoint_dir(work / name, max(cfg.sft.checkpoints))
        for policy in (Policy("base", path), Policy("prompted", path, True), Policy("sft", last)):
            found = {t: judged(policy, prompts, cfg, x) for t, x in (("sampled", 1.0), ("greedy", 0.0))}
            points = gold_summary("x", found["sampled"], found["greedy"]).gold["x"]
            rows.append(
                {
                    "size": name,
                    "params": count_parameters(load_policy(path)),
                    "policy": policy.name,
                    "gold": points["mean"],
                    "se": points["se"],
                    "greedy": points["greedy_mean"],
                    "greedy_se": points["greedy_se"],
                }
            )
    write_json(folder / "ladder.json", {"seed": cfg.seed, "machine": machine(), "versions": versions(), "rows": rows})
    return rows
