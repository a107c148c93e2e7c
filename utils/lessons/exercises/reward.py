"""Checks of notebook 03: forward passes, the loss of a pair and of a ranking, the shift, best of n, off-topic answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from utils.lessons.exercises.common import FunctionCheck

# --- what whole rankings save --------------------------------------------------------------------------------------


def forward_rows(ks: Sequence[int]) -> tuple[int, int]:
    """Number of sequences in the forward pass, for rankings of these lengths without ties: as whole rankings, and as pairs."""
    return sum(ks), sum(2 * math.comb(k, 2) for k in ks)


check_forward_rows = FunctionCheck(
    forward_rows,
    [([4, 5, 6],), ([9],), ([2, 2],), ([3, 9],)],
    [
        (lambda ks: (sum(ks), sum(math.comb(k, 2) for k in ks)), "you count pairs; each of them is two sequences."),
        (
            lambda ks: (sum(ks), 2 * math.comb(sum(ks), 2)),
            "you pair answers of different prompts; labelers compared only answers to the same prompt.",
        ),
        (lambda ks: (sum(ks), sum(k * k for k in ks)), "you compare an answer with itself."),
        (lambda ks: (len(ks), sum(2 * math.comb(k, 2) for k in ks)), "one prompt is one batch element, but K sequences."),
    ],
)

# --- the loss of a pair --------------------------------------------------------------------------------------------


def pair_loss(better: float, worse: float) -> float:
    """-log sigmoid(better - worse): the loss of one pair in Eq. 1."""
    return math.log1p(math.exp(worse - better))


check_pair_loss = FunctionCheck(
    pair_loss,
    [(2.0, 0.5), (0.0, 0.0), (-1.0, 1.0), (0.3, 0.1)],
    [
        (
            lambda a, b: pair_loss(b, a),
            "the sign is wrong: the loss has to fall when the reward of the better one rises.",
        ),
        (lambda a, b: 1 / (1 + math.exp(b - a)), "this is the probability that the labeler prefers it; the loss is its -log."),
        (lambda a, b: -pair_loss(a, b), "this is the log of the probability; the loss is minus this number."),
        (lambda a, b: max(0.0, 1 - (a - b)), "this is a hinge loss; Eq. 1 has -log sigmoid."),
        (lambda a, b: (a - b - 1) ** 2, "this is a squared error; Eq. 1 has -log sigmoid."),
    ],
)

# --- the loss of a ranking -----------------------------------------------------------------------------------------


def ranking_loss(rewards: Sequence[float], ranks: Sequence[int]) -> float:
    """Eq. 1 for one prompt: the mean of `pair_loss` over its pairs that do not tie; rank 1 is best."""
    return _mean(rewards, ranks)


def _pairs(rewards: Sequence[float], ranks: Sequence[int]) -> list[float]:
    both = itertools.permutations(range(len(ranks)), 2)
    return [pair_loss(rewards[i], rewards[j]) for i, j in both if ranks[i] < ranks[j]]


def _mean(rewards: Sequence[float], ranks: Sequence[int]) -> float:
    found = _pairs(rewards, ranks)
    return sum(found) / len(found)


def _ties_count(rewards: Sequence[float], ranks: Sequence[int]) -> float:
    tied = [pair_loss(rewards[i], rewards[j]) for i, j in itertools.combinations(range(len(ranks)), 2) if ranks[i] == ranks[j]]
    found = _pairs(rewards, ranks) + tied
    return sum(found) / len(found)


def _neighbours(rewards: Sequence[float], ranks: Sequence[int]) -> float:
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    found = [pair_loss(rewards[i], rewards[j]) for i, j in itertools.pairwise(order) if ranks[i] != ranks[j]]
    return sum(found) / len(found)


check_ranking_loss = FunctionCheck(
    ranking_loss,
    [([2.0, 0.5, -1.0], [1, 2, 3]), ([0.0, 1.0, 0.5, 0.2], [2, 1, 2, 3]), ([0.3, 0.1], [2, 1]), ([1.0, 0.0, 2.0], [2, 2, 1])],
    [
        (_ties_count, "a tie is no preference: drop the pairs of equal rank (C.2)."),
        (
            lambda r, k: sum(_pairs(r, k)) / math.comb(len(k), 2),
            "divide by the number of pairs that are left; C(K, 2) counts the dropped ties too.",
        ),
        (
            lambda r, k: sum(_pairs(r, k)),
            "this is the sum: a long ranking would get more weight; take the mean over its pairs.",
        ),
        (lambda r, k: _mean(r, [-rank for rank in k]), "rank 1 is the best and has to get the highest reward."),
        (_neighbours, "you compare neighbours only; a ranking gives an order for every pair."),
    ],
)

# --- the shift -----------------------------------------------------------------------------------------------------


def shifted(rewards: Sequence[float], demonstrations: Sequence[float]) -> list[float]:
    """Rewards on the scale on which the demonstrations average 0 (C.2)."""
    mean = sum(demonstrations) / len(demonstrations)
    return [reward - mean for reward in rewards]


check_shifted = FunctionCheck(
    shifted,
    [([1.0, 2.0, 3.5], [0.5, 1.5]), ([-1.0], [-2.0, -4.0, -3.0]), ([0.0, 1.0], [2.0])],
    [
        (
            lambda r, d: [x - sum(r) / len(r) for x in r],
            "now the policy's own samples average 0; the demonstrations have to average 0.",
        ),
        (lambda r, d: [x + sum(d) / len(d) for x in r], "the sign is wrong: subtract the mean of the demonstrations."),
        (
            lambda r, d: [x / (sum(d) / len(d)) for x in r],
            "a scale changes the differences, and so the loss of Eq. 1; a shift does not.",
        ),
        (lambda r, d: [x - max(d) for x in r], "take the mean of the demonstrations, not the best of them."),
    ],
)

# --- best of n -----------------------------------------------------------------------------------------------------


def best_of_n(rewards: Sequence[Sequence[float]], gold: Sequence[Sequence[float]]) -> float:
    """Mean gold of the sample with the highest reward; one inner list per prompt."""
    chosen = [max(range(len(row)), key=row.__getitem__) for row in rewards]
    return sum(row[i] for row, i in zip(gold, chosen, strict=True)) / len(gold)


check_best_of_n = FunctionCheck(
    best_of_n,
    [
        ([[0.1, 0.9], [0.5, 0.2]], [[8.0, 6.0], [3.0, 9.0]]),
        ([[1.0, 2.0, 0.0]], [[5.0, 7.0, 9.0]]),
        ([[-1.0, -2.0], [0.0, 3.0], [2.0, 1.0]], [[2.0, 5.0], [1.0, 4.0], [9.0, 3.0]]),
    ],
    [
        (
            lambda r, g: sum(map(max, g)) / len(g),
            "this is the best sample by gold, which nobody knows at that moment; the reward model chooses.",
        ),
        (lambda r, g: sum(map(max, r)) / len(r), "this is the reward of the chosen sample; return its gold."),
        (lambda r, g: sum(map(sum, g)) / sum(map(len, g)), "this is the mean of all samples: nothing was chosen."),
        (
            lambda r, g: best_of_n([[-x for x in row] for row in r], g),
            "you choose the sample with the lowest reward.",
        ),
        (
            lambda r, g: max(g[i][max(range(len(row)), key=row.__getitem__)] for i, row in enumerate(r)),
            "this is the maximum over prompts; take the mean.",
        ),
    ],
)

# --- pairs with off-topic answers ----------------------------------------------------------------------------------


def off_topic_accuracy(rewards: Sequence[float], gold: Sequence[float], off_topic: Sequence[bool]) -> float:
    """Share of correctly ordered pairs of an on-topic answer and an off-topic answer with lower gold."""
    return _share(rewards, gold, off_topic)


def _share(rewards: Sequence[float], gold: Sequence[float], off: Sequence[bool] | None, likes: bool = True) -> float:
    both = itertools.permutations(range(len(gold)), 2)
    kept = [(i, j) for i, j in both if (gold[i] > gold[j] or not likes) and (off is None or (off[j] and not off[i]))]
    return sum(rewards[i] > rewards[j] for i, j in kept) / len(kept)


check_off_topic_accuracy = FunctionCheck(
    off_topic_accuracy,
    [
        ([0.9, 0.8, 0.1, 0.5], [8.0, 5.0, 3.0, 6.0], [False, False, True, True]),
        ([0.2, 0.6, 0.4], [7.0, 2.0, 9.0], [False, True, False]),
        ([0.5, 0.4, 0.3, 0.7], [4.0, 5.0, 6.0, 3.0], [False, True, False, True]),
    ],
    [
        (lambda r, g, o: _share(r, g, None), "you use all pairs; use the pairs of an on-topic and an off-topic answer."),
        (
            lambda r, g, o: _share(r, g, o, likes=False),
            "leave out pairs in which the off-topic answer is not worse by gold: it may be right by chance.",
        ),
        (lambda r, g, o: 1 - _share(r, g, o), "this is the share of pairs in the wrong order."),
    ],
)
