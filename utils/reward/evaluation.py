"""How well a reward model predicts rankings it was not trained on (sec. 4.1): accuracy, loss, calibration, by labeler."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from utils.data.schemas import Comparison
from utils.losses import kwise_loss
from utils.reward.metrics import Accuracy, calibration, calibration_error, pair_accuracy, rank_values
from utils.reward.scoring import RewardModel


def evaluate_reward(judge: RewardModel, comparisons: Sequence[Comparison]) -> tuple[dict[str, Any], list[list[float]]]:
    """Accuracy on the labelers' own pairs, loss, calibration, accuracy of each labeler's pairs; and the scores they are
    of, as `RewardModel.score_comparisons` gives them.

    Keys: accuracy, accuracy_se (clustered by prompt), pairs, prompts, loss (Eq. 1, mean over prompts), calibration
    (bins), calibration_error, labelers {id: Accuracy}, counts (what was cut).
    """
    encoded = judge.encode(comparisons)
    scores = judge.score_groups(encoded.groups)  # K numbers for each ranking
    ranks = [group.ranks for group in encoded.groups]  # in which answers that are equal to the model tie
    accuracy = pair_accuracy(scores, rank_values(ranks))
    table = calibration(scores, rank_values(ranks))
    found = {
        "accuracy": accuracy.mean,
        "accuracy_se": accuracy.se,
        "pairs": accuracy.pairs,
        "prompts": accuracy.prompts,
        "loss": ranking_loss(scores, ranks),
        "calibration": [row._asdict() for row in table],
        "calibration_error": calibration_error(table),
        "labelers": {name: row._asdict() for name, row in accuracy_by_labeler(scores, ranks, comparisons).items()},
        "counts": encoded.counts,
    }
    return found, scores


def ranking_loss(scores: Sequence[Sequence[float]], ranks: Sequence[Sequence[int]]) -> float:
    """Eq. 1, mean over prompts that have a pair, of scores that are there already; NaN if none has."""
    losses = [
        float(kwise_loss(torch.tensor([row]), torch.tensor([list(order)])))
        for row, order in zip(scores, ranks, strict=True)
        if len(set(order)) > 1
    ]
    return sum(losses) / len(losses) if losses else float("nan")


def accuracy_by_labeler(
    scores: Sequence[Sequence[float]], ranks: Sequence[Sequence[int]], comparisons: Sequence[Comparison]
) -> dict[str, Accuracy]:
    """Pair accuracy on each labeler's own rankings."""
    rows: dict[str, list[int]] = defaultdict(list)
    for i, comparison in enumerate(comparisons):
        rows[comparison.labeler_id].append(i)
    return {
        name: pair_accuracy([scores[i] for i in part], rank_values([ranks[i] for i in part]))
        for name, part in sorted(rows.items())
    }
