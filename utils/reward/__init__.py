"""The reward model on K-wise rankings (sec. 3.5, C.2, Eq. 1): batches, scores, training, accuracy, cross-validation.

`train_reward` runs the stage, `RewardModel` scores with what it made.
"""

from __future__ import annotations

from utils.reward.batches import Group, as_pairs, encode_comparisons, forward_rows, leave_out
from utils.reward.cross_validation import cross_validate
from utils.reward.evaluation import evaluate_reward
from utils.reward.metrics import Accuracy, pair_accuracy, part_weights, rank_values
from utils.reward.scoring import RewardModel, Scorer, plain_scores, reward_at_end, score_groups
from utils.reward.train import Rankings, fit, kwise_step, train_reward

__all__ = [
    "Accuracy",
    "Group",
    "Rankings",
    "RewardModel",
    "Scorer",
    "as_pairs",
    "cross_validate",
    "encode_comparisons",
    "evaluate_reward",
    "fit",
    "forward_rows",
    "kwise_step",
    "leave_out",
    "pair_accuracy",
    "part_weights",
    "plain_scores",
    "rank_values",
    "reward_at_end",
    "score_groups",
    "train_reward",
]
