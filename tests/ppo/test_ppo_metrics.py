"""Metrics that PPO logs, as rows for a figure."""

from __future__ import annotations

from utils.ppo import over_kl


def test_gold_goes_with_the_kl_and_score_of_the_same_weights() -> None:
    """Round 0's samples are of the start; gold is of the weights after the round, which the next round samples from."""
    metrics = [
        {"step": 0, "kl_k1": 0.0, "score": 1.0},
        {"step": 1, "kl_k1": 0.5, "score": 2.0, "gold": 7.0},
        {"step": 2, "kl_k1": 0.9, "score": 3.0},
        {"step": 3, "kl_k1": 1.2, "score": 4.0, "gold": 6.0},
    ]
    assert over_kl(metrics) == [{"round": 2, "kl": 0.9, "proxy": 3.0, "gold": 7.0}]
