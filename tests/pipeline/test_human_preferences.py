"""The user's own data, shown on real human preferences: pairs of Anthropic's hh-rlhf, where they lie beside the checkout.

They are never part of the project, so this is skipped elsewhere; tests/data/test_formats.py has made-up rows of the same form.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from utils.config import DataConfig, RewardConfig
from utils.core.runtime import ROOT
from utils.data.formats import load_comparisons
from utils.reward.evaluation import evaluate_reward
from utils.reward.scoring import RewardModel
from utils.reward.train import train_reward
from utils.training.setup import StageSetup

PAIRS = ROOT.parent / "shared" / "data" / "hh-rlhf" / "harmless-base-test.jsonl.gz"
BASE = ROOT / "data" / "models" / "small"

pytestmark = pytest.mark.skipif(not PAIRS.is_file(), reason="the hh-rlhf pairs are not beside this checkout")


def test_a_reward_model_trains_on_human_pairs_and_is_evaluated_on_unseen_prompts(tmp_path: Path) -> None:
    rows = load_comparisons(PAIRS)
    assert len(rows) > 2000 and all(len(row.completions) == 2 for row in rows)
    train = [row for row in rows if row.split == "train"][:64]
    unseen = [row for row in rows if row.split != "train"][:40]
    assert not {row.prompt for row in train} & {row.prompt for row in unseen}
    data = DataConfig(max_prompt_tokens=64, max_response_tokens=64)
    train_reward(tmp_path, BASE, train, [], replace(RewardConfig(), epochs=1), StageSetup(data, seed=1))
    found, _ = evaluate_reward(RewardModel.load(tmp_path / "model", data), unseen)
    assert found["pairs"] == len(unseen) == found["counts"]["comparisons"]
    assert 0.2 < found["accuracy"] < 0.9 and math.isfinite(found["loss"])
    assert found["counts"]["prompts_cut"] > 0  # the long dialogues lose their beginning, and that is reported
