"""Checks of notebook 09: hit rate, shuffle and excess, projection, threshold at a null rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from utils.lessons.exercises.common import FunctionCheck

Pairs = Sequence[tuple[int, int]]


def hit_rate(n_a: int, pairs: Pairs) -> float:
    """Share of A's points with at least one match; pairs: (point of A, point of B) (Liang et al., Methods)."""
    return len({i for i, _ in pairs}) / n_a


check_overlap_hit_rate = FunctionCheck(
    hit_rate,
    [(4, [(0, 0), (1, 0), (2, 1)]), (3, [(0, 0), (0, 1)]), (2, []), (5, [(4, 2), (4, 1), (0, 2)])],
    [
        (lambda n, p: len(p) / n, "you counted matches; a point of A that matches two points of B counts once."),
        (lambda n, p: len({j for _, j in p}) / n, "you counted the matched points of B; the hit rate counts those of A."),
    ],
)


def excess(real: Sequence[float], shuffled: Sequence[float]) -> float:
    """Mean hit rate on the right documents minus the mean on shuffled ones."""
    return sum(real) / len(real) - sum(shuffled) / len(shuffled)


check_overlap_excess = FunctionCheck(
    excess,
    [([0.5, 0.3], [0.1, 0.0, 0.2]), ([0.2], [0.2]), ([1.0, 0.0, 0.5], [0.0])],
    [
        (lambda r, s: sum(r) / len(r), "this is the hit rate alone; subtract what the shuffle reaches."),
        (lambda r, s: (sum(r) / len(r)) / max(sum(s) / len(s), 1e-9), "this is a ratio; the excess is a difference."),
        (lambda r, s: sum(s) / len(s) - sum(r) / len(r), "this is shuffled minus real; the excess is real minus shuffled."),
    ],
)


def threshold(best_shuffled: Sequence[float], rate: float) -> float:
    """The lowest score that at most a share `rate` of the best shuffled scores reaches."""
    ordered = sorted(best_shuffled, reverse=True)
    allowed = int(len(ordered) * rate)
    return ordered[allowed - 1]


check_threshold = FunctionCheck(
    threshold,
    [([0.1, 0.9, 0.5, 0.3], 0.25), ([0.2, 0.4, 0.6, 0.8, 1.0], 0.4), ([3.0, 1.0, 2.0, 4.0], 0.5)],
    [
        (lambda s, r: sorted(s)[int(len(s) * r) - 1], "you took the lowest scores; the threshold lies among the highest."),
        (lambda s, r: sorted(s, reverse=True)[int(len(s) * r)], "one place too low: this score is reached by one text more."),
        (lambda s, r: max(s), "no shuffled text may match then; the stated rate may."),
    ],
)


def without_topic(text: Sequence[float], topic: Sequence[float]) -> list[float]:
    """The vector of a text minus its part along the topic; the topic has length 1."""
    along = sum(x * t for x, t in zip(text, topic, strict=True))
    return [x - along * t for x, t in zip(text, topic, strict=True)]


def _unit(values: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(v * v for v in values))
    return [v / length for v in values] if length > 0 else list(values)


check_without_topic = FunctionCheck(
    without_topic,
    [([1.0, 1.0], [1.0, 0.0]), ([0.6, 0.8], [0.8, 0.6]), ([0.0, 2.0, 1.0], [0.0, 1.0, 0.0])],
    [
        (lambda x, t: [a - b for a, b in zip(x, t, strict=True)], "you subtracted the whole topic; subtract (x . t) times it."),
        (
            lambda x, t: [sum(a * b for a, b in zip(x, t, strict=True)) * c for c in t],
            "this is the part along the topic; keep the rest.",
        ),
        (lambda x, t: _unit(without_topic(x, t)), "you also scaled the result to length 1; leave its length."),
    ],
)
