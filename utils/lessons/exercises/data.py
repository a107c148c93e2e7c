"""Checks of notebook 01: agreement, accuracy from agreement, the cap per user, the priority rule, duplicates."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from utils.lessons.exercises.common import FunctionCheck

# --- agreement of two rankings -------------------------------------------------------------------------------------


def agreement(a: Sequence[int], b: Sequence[int]) -> float:
    """Of the pairs that both rankings decide: the share that both order in the same way (3.4)."""
    decided = [(x, y) for x, y in _signs(a, b) if x and y]
    return sum(x == y for x, y in decided) / len(decided)


def _signs(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    """For every pair of items, which one is better by a and by b: 1 the first, -1 the second, 0 neither."""
    pairs = list(itertools.combinations(range(len(a)), 2))
    return [((a[j] > a[i]) - (a[j] < a[i]), (b[j] > b[i]) - (b[j] < b[i])) for i, j in pairs]


def _ties_as_wrong(a: Sequence[int], b: Sequence[int]) -> float:
    signs = _signs(a, b)
    return sum(x == y != 0 for x, y in signs) / len(signs)


def _ties_as_right(a: Sequence[int], b: Sequence[int]) -> float:
    signs = _signs(a, b)
    return sum(x == y for x, y in signs) / len(signs)


def _same_ranks(a: Sequence[int], b: Sequence[int]) -> float:
    return sum(x == y for x, y in zip(a, b, strict=True)) / len(a)


check_agreement = FunctionCheck(
    agreement,
    [([1, 2, 3], [1, 3, 2]), ([1, 2, 2, 3], [2, 1, 3, 4]), ([1, 1, 2], [1, 1, 2]), ([1, 2, 3, 4], [4, 3, 2, 1])],
    [
        (_ties_as_wrong, "you counted a pair that one of the two ties as a disagreement; leave it out of both counts."),
        (_ties_as_right, "you counted a pair that both tie as an agreement; count only pairs that both decide."),
        (
            _same_ranks,
            "you counted equal ranks; compare pairs of answers: ranks 2 and 3 give a pair the same order as ranks 1 and 2.",
        ),
        (lambda a, b: 1 - agreement(a, b), "this is the share of pairs on which they disagree."),
    ],
)

# --- from agreement to accuracy ------------------------------------------------------------------------------------


def accuracy_from_agreement(a: float) -> float:
    """How often each of two equally good, independent judges is right if they agree in a share `a` >= 1/2 of pairs."""
    return (1 + (2 * a - 1) ** 0.5) / 2


check_accuracy_from_agreement = FunctionCheck(
    accuracy_from_agreement,
    [(0.5,), (0.625,), (0.726,), (1.0,)],
    [
        (lambda a: a**0.5, "two labelers also agree if both are wrong: a = p * p + (1 - p) * (1 - p)."),
        (lambda a: (1 - (2 * a - 1) ** 0.5) / 2, "this is the other solution of the equation, the share of mistakes 1 - p."),
        (lambda a: a, "agreement with each other is lower than accuracy, because both make mistakes."),
        (lambda a: 2 * a - 1, "this is the expression under the root: 2a - 1 = (2p - 1)^2. Solve for p."),
        (lambda a: (2 * a - 1) ** 0.5, "this is 2p - 1. Solve for p."),
    ],
)

# --- a limit of prompts per user -----------------------------------------------------------------------------------

Asked = Sequence[tuple[str, str]]


def capped(rows: Asked, cap: int) -> list[tuple[str, str]]:
    """The first `cap` rows (user, prompt) of every user, in their order (3.2)."""
    seen: Counter[str] = Counter()
    kept = []
    for user, prompt in rows:
        seen[user] += 1
        if seen[user] <= cap:
            kept.append((user, prompt))
    return kept


def _greedy_users_out(rows: Asked, cap: int) -> list[tuple[str, str]]:
    counts = Counter(user for user, _ in rows)
    return [(user, prompt) for user, prompt in rows if counts[user] <= cap]


def _one_too_few(rows: Asked, cap: int) -> list[tuple[str, str]]:
    return capped(rows, cap - 1)


_ASKED = [("ann", "a"), ("bob", "b"), ("ann", "c"), ("ann", "d"), ("bob", "e"), ("cy", "f")]

check_capped = FunctionCheck(
    capped,
    [(_ASKED, 2), (_ASKED, 1), (_ASKED, 3), ([("ann", "x")], 5)],
    [
        (_greedy_users_out, "you dropped all prompts of a user over the cap; keep the first ones."),
        (lambda rows, cap: list(rows)[:cap], "the cap is for each user, not for all rows together."),
        (lambda rows, cap: capped(list(rows)[::-1], cap)[::-1], "you kept the last prompts of a user; keep the first ones."),
        (_one_too_few, "you kept one too few per user: keep the prompt that reaches the cap."),
        (
            lambda rows, cap: sorted(capped(rows, cap)),
            "these are the right rows in another order; keep the order of the input.",
        ),
    ],
)

# --- the priority rule ---------------------------------------------------------------------------------------------


def reweighted(weights: Sequence[float], factors: Sequence[float]) -> list[float]:
    """Weights times factors, scaled so that their total does not change (B.2)."""
    changed = [w * f for w, f in zip(weights, factors, strict=True)]
    return [c * sum(weights) / sum(changed) for c in changed]


def _not_scaled(weights: Sequence[float], factors: Sequence[float]) -> list[float]:
    return [w * f for w, f in zip(weights, factors, strict=True)]


def _to_one(weights: Sequence[float], factors: Sequence[float]) -> list[float]:
    changed = _not_scaled(weights, factors)
    return [c / sum(changed) for c in changed]


check_reweighted = FunctionCheck(
    reweighted,
    [([3.0, 1.0, 1.0], [2.0, 1.0, 1.0]), ([2.0, 2.0], [1.0, 1.5]), ([3.0, 1.5, 1.5], [1.0, 1.5, 1.5])],
    [
        (_not_scaled, "the total grew; scale the weights so that it is the same as before."),
        (_to_one, "the weights now add up to 1; their sum must be the same as before."),
        (lambda w, f: list(w), "nothing changed; multiply by the factors first."),
        (lambda w, f: [a + b for a, b in zip(w, f, strict=True)], "you added the factors; multiply by them."),
    ],
)

# --- duplicates ----------------------------------------------------------------------------------------------------


def deduplicated(prompts: Sequence[str], n: int) -> list[str]:
    """Prompts without those that share their first n characters with an earlier one; shorter ones only if equal (3.2)."""
    seen: set[str] = set()
    kept = []
    for prompt in prompts:
        key = prompt.lower()[:n]  # a shorter prompt is its own key; the key of a longer one has n characters
        if key not in seen:
            kept.append(prompt)
        seen.add(key)
    return kept


def _case_counts(prompts: Sequence[str], n: int) -> list[str]:
    kept: dict[str, str] = {}
    for prompt in prompts:
        kept.setdefault(prompt[:n], prompt)
    return list(kept.values())


def _both_dropped(prompts: Sequence[str], n: int) -> list[str]:
    counts = Counter(prompt.lower()[:n] for prompt in prompts)
    return [prompt for prompt in prompts if counts[prompt.lower()[:n]] == 1]


def _neighbours(prompts: Sequence[str], n: int) -> list[str]:
    pairs = zip(["", *prompts], prompts, strict=False)
    return [prompt for before, prompt in pairs if before.lower()[:n] != prompt.lower()[:n]]


def _whole_text(prompts: Sequence[str], n: int) -> list[str]:
    return deduplicated(prompts, max(map(len, prompts)))


def _last_kept(prompts: Sequence[str], n: int) -> list[str]:
    return deduplicated(list(prompts)[::-1], n)[::-1]


def _short_prefix(prompts: Sequence[str], n: int) -> list[str]:
    kept: list[str] = []
    for prompt in prompts:
        low = prompt.lower()
        if not any(low[:n].startswith(k.lower()[:n]) or k.lower()[:n].startswith(low[:n]) for k in kept):
            kept.append(prompt)
    return kept


_PROMPTS = ["Tell me a story about a fox.", "Name a bird.", "tell me a story about a bee.", "Name", "Name a bird."]

check_deduplicated = FunctionCheck(
    deduplicated,
    [(_PROMPTS, 20), (_PROMPTS, 100), (["Hi", "hi", "Hi there"], 5), (["ab", "abc", "abd"], 2)],
    [
        (_case_counts, "prompts that differ only in upper and lower case are the same: compare prompt.lower()."),
        (_both_dropped, "you dropped both copies; keep the first one."),
        (_neighbours, "copies may be far apart; remember all earlier prompts."),
        (_whole_text, "you compared whole prompts; a long common beginning is enough."),
        (_last_kept, "you kept the last copy; keep the first one."),
        (_short_prefix, "a short prompt that only begins like a longer one is not a copy of it: both must share n characters."),
    ],
)
