"""Evaluation of a reward model on rankings."""

from __future__ import annotations

import math

import pytest
from reward_cases import brute_force
from settings import DATA, comparisons
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.reward.evaluation import evaluate_reward, ranking_loss
from utils.reward.scoring import RewardModel


def test_evaluation_reports_what_it_counted(reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    rows, judge = comparisons(12, labelers=2), RewardModel(reward_model, tokenizer, DATA)
    result, scores = evaluate_reward(judge, rows)
    assert scores == judge.score_comparisons(rows)
    assert result["prompts"] == 12 and result["pairs"] == 4 * (1 + 3 + 5)
    assert set(result["labelers"]) == {"L0", "L1"}
    assert sum(part["pairs"] for part in result["labelers"].values()) == result["pairs"]
    mean = sum(part["pairs"] * part["mean"] for part in result["labelers"].values()) / result["pairs"]
    assert mean == pytest.approx(result["accuracy"])
    groups = judge.encode(rows).groups
    assert result["loss"] == pytest.approx(float(brute_force(reward_model, groups).detach()), rel=1e-4)
    assert math.isnan(ranking_loss([[0.0, 1.0]], [[1, 1]]))
