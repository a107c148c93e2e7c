"""What judges say of outputs, and what follows from it: win rates, Likert ratings, metadata, strengths, with intervals.

A judgement is a row of `Comparison`: outputs of one prompt with the names of their policies, ranked (equal ranks tie) and
perhaps rated and flagged by one judge. `utils.evaluation.judges` makes them; the labeling room exports them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, permutations
from typing import Any, NamedTuple

from utils.data.schemas import PER_COMPLETION, Comparison
from utils.evaluation.preference import (
    CrossedMean,
    CrossedWinRate,
    Strengths,
    bradley_terry,
    crossed_mean,
    crossed_win_rate,
)

LIKERT = (1.0, 7.0)  # the ends of the scale (Table 3)
Row = dict[str, Any]


class Values(NamedTuple):
    """What judgements say as numbers, each with its judge and its prompt; all three lists have one length."""

    numbers: list[float]
    judge: list[str]
    prompt: list[str]

    def add(self, number: float, row: Comparison) -> None:
        """One more number, from a judgement."""
        self.numbers.append(number)
        self.judge.append(row.labeler_id)
        self.prompt.append(row.prompt_id)


@dataclass(frozen=True)
class Judgements:
    """The judgements of one kind of judge.

    whose: whose opinion it is, such as "10 simulated held-out labelers". rankings: rows whose ranks count. ratings: rows whose
    Likert ratings and flags count; none if these judges only compare. notes: sentences on what was left out or cut.
    """

    whose: str
    rankings: Sequence[Comparison]
    ratings: Sequence[Comparison] = ()
    notes: Sequence[str] = ()

    @property
    def policies(self) -> list[str]:
        """Names of the policies in the order of their first output."""
        return list(dict.fromkeys(name for row in self.rankings for name in row.policies))

    @cached_property
    def wins(self) -> dict[tuple[str, str], Values]:
        """Outcomes of every policy against every other one that it was compared with: 1 won, 0.5 tie, 0 lost."""
        found: dict[tuple[str, str], Values] = {}
        for row in self.rankings:
            for i, k in permutations(range(len(row.ranks)), 2):
                gap = row.ranks[k] - row.ranks[i]
                pair = found.setdefault((row.policies[i], row.policies[k]), Values([], [], []))
                pair.add(1.0 if gap > 0 else 0.0 if gap < 0 else 0.5, row)
        return found


def picked(row: Comparison, places: Sequence[int]) -> Comparison:
    """The row with the outputs at `places` alone."""
    fields = {name: found for name in PER_COMPLETION if (found := getattr(row, name))}
    kept: dict[str, Any] = {name: tuple(found[k] for k in places) for name, found in fields.items()}
    return replace(row, **kept)


def two_at_a_time(outputs: Sequence[Comparison]) -> Iterator[tuple[int, int, int]]:
    """(number of the row, place, place) of every two outputs of different policies."""
    for number, row in enumerate(outputs):
        for i, k in combinations(range(len(row.completions)), 2):
            if row.policies[i] != row.policies[k]:
                yield number, i, k


def win_rate(judged: Judgements, a: str, b: str, confidence: float = 0.95) -> CrossedWinRate:
    """Win rate of policy a against policy b, ties counted half, with its interval over prompts and judges.

    Raises ValueError if nobody compared them.
    """
    return crossed_win_rate(*judged.wins.get((a, b), Values([], [], [])), confidence)


def likert(judged: Judgements, policy: str, confidence: float = 0.95) -> CrossedMean | None:
    """Mean rating of a policy's outputs, 1 (worst) to 7 (best), with its interval over prompts and judges (Table 3, Fig. 5);
    None if nobody rated them."""
    found = Values([], [], [])
    for row in judged.ratings:
        for name, rating in zip(row.policies, row.ratings, strict=False):
            if name == policy:
                found.add(float(rating), row)
    return crossed_mean(*found, confidence, LIKERT) if found.numbers else None


def metadata(judged: Judgements, policy: str, confidence: float = 0.95) -> dict[str, CrossedWinRate]:
    """Share of a policy's outputs with each yes/no field of Table 3, with its interval over prompts and judges (Fig. 4).

    A field counts where the judgement answers it.
    """
    answers: dict[str, Values] = {}
    for row in judged.ratings:
        for name, flags in zip(row.policies, row.flags, strict=False):
            for field, raised in flags.items() if name == policy else ():
                answers.setdefault(field, Values([], [], [])).add(float(raised), row)
    return {field: crossed_win_rate(*found, confidence) for field, found in answers.items()}


def strengths(judged: Judgements, confidence: float = 0.95) -> Strengths:
    """Bradley-Terry strengths of `judged.policies` from all comparisons of two, with intervals over prompts.

    Raises ValueError if they are not finite (`preference.fit_strengths`).
    """
    first, second, wins, prompt = list[int](), list[int](), list[float](), list[str]()
    for (a, name), (b, other) in combinations(enumerate(judged.policies), 2):
        found = judged.wins.get((name, other), Values([], [], []))
        first += [a] * len(found.numbers)
        second += [b] * len(found.numbers)
        wins += found.numbers
        prompt += found.prompt
    return bradley_terry(first, second, wins, prompt, confidence)


def measures(judged: Judgements, reference: str, confidence: float = 0.95) -> list[Row]:
    """Every measure of every policy as a row: policy, metric, value, low, high, n, judges, prompts.

    Metrics: "win_rate" against the reference (with the share of ties), "strength" (Bradley-Terry; none where it is not finite),
    "likert", and the fields of Table 3. n: judgements.
    """
    names, rows = judged.policies, list[Row]()
    try:
        strength = strengths(judged, confidence)
    except ValueError:
        strength = None
    for number, policy in enumerate(names):
        if policy != reference and (policy, reference) in judged.wins:
            share = win_rate(judged, policy, reference, confidence)
            rows.append(_row(policy, "win_rate", share) | {"ties": share.ties / share.n})
        found = {"likert": likert(judged, policy, confidence), **metadata(judged, policy, confidence)}
        rows += [_row(policy, metric, one) for metric, one in found.items() if one is not None]
        if strength is not None:
            ends = {name: float(getattr(strength, name)[number]) for name in ("low", "high")}
            rows.append({"policy": policy, "metric": "strength", "value": float(strength.values[number]), **ends})
    return rows


def _row(policy: str, metric: str, found: CrossedMean | CrossedWinRate) -> Row:
    kept = {name: getattr(found, name) for name in ("low", "high", "n", "judges", "prompts")}
    return {"policy": policy, "metric": metric, "value": found.mean, **kept}
