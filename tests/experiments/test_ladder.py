"""Model sizes beside each other on the prompts of a finished run (Fig. 1)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from utils.config import load_config
from utils.core.io import read_json
from utils.core.runtime import ROOT
from utils.evaluation.policies import Policy, judged
from utils.evaluation.statistics import mean_se
from utils.experiments.ladder import ladder
from utils.models.loading import count_parameters, load_policy
from utils.pipeline.evaluation_stages import policies
from utils.pipeline.run import Run

SIZES = {name: ROOT / "data" / "models" / name for name in ("mini", "small")}


def test_the_ladder_has_base_prompted_base_and_sft_of_every_size(finished: Path, tmp_path: Path) -> None:
    config = load_config(finished / "ppo" / "config.yaml")
    config = replace(config, sft=replace(config.sft, epochs=1, checkpoints=(1,)))
    run = Run(finished, config)
    rows = ladder(run, SIZES, tmp_path / "results", tmp_path / "work")
    assert [(row["size"], row["policy"]) for row in rows] == [(s, p) for s in SIZES for p in ("base", "prompted", "sft")]
    assert all(row["params"] == count_parameters(load_policy(SIZES[row["size"]])) for row in rows)
    greedy = judged(Policy("prompted", SIZES["mini"], True), run.prompts("test"), config, 0.0)
    assert rows[1]["greedy"] == pytest.approx(mean_se(greedy.golds).mean), "of the prompted base, on the run's test prompts"
    assert rows[1]["greedy"] != rows[0]["greedy"] and rows[2]["greedy"] != rows[0]["greedy"]
    assert read_json(tmp_path / "results" / "ladder.json")["rows"] == rows


def test_a_larger_base_is_evaluated_with_a_prompt(finished: Path, tmp_path: Path) -> None:
    config = load_config(finished / "ppo" / "config.yaml")
    named = policies(Run(finished, replace(config, largest_model=str(SIZES["small"]))), tmp_path)
    assert named[-1] == Policy("prompted_largest", SIZES["small"], prompted=True)
    assert [policy.name for policy in policies(Run(finished, replace(config, largest_model=None)), tmp_path)] == [
        policy.name for policy in named[:-1]
    ]
