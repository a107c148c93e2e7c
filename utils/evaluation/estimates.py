"""Metrics of a group of outputs: a value with its interval over items, and the difference of two models on the same items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from utils.core.errors import UserError
from utils.core.runtime import numpy_rng
from utils.evaluation.statistics import mean_se, normal_quantile, paired_difference, score_interval

DRAWS = 1000  # of the bootstrap of BLEU
INSTALL = 'install it with `pip install -c constraints.txt -e ".[evaluation]"` in the folder of this repository'


class Estimate(NamedTuple):
    """A metric of one group with its interval over items; n: the items with a value."""

    value: float
    low: float
    high: float
    n: int


class Difference(NamedTuple):
    """By how much a metric is higher in one group than in another on the same items, and half of its interval."""

    value: float
    half_width: float


NO_ESTIMATE = Estimate(float("nan"), float("nan"), float("nan"), 0)


class Metric(Protocol):
    """One metric of a group. `minus` takes a metric of the same kind, of the same items in the same order."""

    def estimate(self, confidence: float = 0.95, seed: int = 0) -> Estimate: ...

    def minus(self, other: Any, confidence: float = 0.95, seed: int = 0) -> Difference: ...


@dataclass(frozen=True)
class Mean:
    """Mean of one number per item with a normal interval, cut to [0, scale]. values: in [0, 1], None if not known."""

    values: Sequence[float | None]
    scale: float = 1.0

    @cached_property
    def known(self) -> list[float]:
        return [value for value in self.values if value is not None]

    def estimate(self, confidence: float = 0.95, seed: int = 0) -> Estimate:
        """NaN without values, no interval for one."""
        if not self.known:
            return NO_ESTIMATE
        mean, se, n = mean_se(self.known)
        half = normal_quantile(confidence) * se
        return Estimate(self.scale * mean, self.scale * max(0.0, mean - half), self.scale * min(1.0, mean + half), n)

    def minus(self, other: Mean, confidence: float = 0.95, seed: int = 0) -> Difference:
        """Over the items that are known in both; NaN if there are none."""
        pairs = [(a, b) for a, b in zip(self.values, other.values, strict=True) if a is not None and b is not None]
        if not pairs:
            return Difference(float("nan"), float("nan"))
        mean, se, _, _ = paired_difference(*zip(*pairs, strict=True))
        return Difference(self.scale * mean, self.scale * normal_quantile(confidence) * se)


@dataclass(frozen=True)
class Share(Mean):
    """Share of ones among zeros and ones (parts for ties), with Wilson's interval."""

    def estimate(self, confidence: float = 0.95, seed: int = 0) -> Estimate:
        """NaN without values."""
        if not self.known:
            return NO_ESTIMATE
        mean, n = float(np.mean(self.known)), len(self.known)
        low, high = score_interval(mean, n, confidence=confidence)
        return Estimate(self.scale * mean, self.scale * low, self.scale * high, n)


@dataclass(frozen=True)
class Bleu:
    """Corpus BLEU by sacrebleu (default settings) from 0 to 100; intervals are a percentile bootstrap over items.

    counts (N, 10): of each item the matches and totals of 1- to 4-grams and both lengths, whose sums make the corpus BLEU.
    """

    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str], references: Sequence[Sequence[str]]) -> Bleu:
        """references: the accepted texts of each text. Raises UserError if sacrebleu is missing."""
        bleu = sacrebleu_metric()
        pairs = zip(texts, references, strict=True)
        rows = [bleu.corpus_score([text], [[one] for one in accepted]) for text, accepted in pairs]
        return cls(np.array([[*row.counts, *row.totals, row.sys_len, row.ref_len] for row in rows]))

    def estimate(self, confidence: float = 0.95, seed: int = 0) -> Estimate:
        low, high = np.quantile(self._scores(self._drawn(seed)), _tails(confidence))
        return Estimate(self._whole(), float(low), float(high), len(self.counts))

    def minus(self, other: Bleu, confidence: float = 0.95, seed: int = 0) -> Difference:
        """By the paired bootstrap: both are drawn with the same items."""
        gaps = np.subtract(self._scores(self._drawn(seed)), other._scores(other._drawn(seed)))
        low, high = np.quantile(gaps, _tails(confidence))
        return Difference(self._whole() - other._whole(), float(high - low) / 2)

    def _whole(self) -> float:
        return self._scores(self.counts.sum(axis=0, keepdims=True))[0]

    def _drawn(self, seed: int) -> npt.NDArray[np.int64]:
        """(DRAWS, 10) sums over items drawn with replacement."""
        n = len(self.counts)
        drawn = numpy_rng(seed, "score", "bleu").multinomial(n, np.full(n, 1 / n), size=DRAWS)  # (DRAWS, N)
        return drawn @ self.counts

    def _scores(self, sums: npt.NDArray[np.int64]) -> list[float]:
        """BLEU of each row of sums."""
        bleu = sacrebleu_metric()
        rows = [[int(x) for x in row] for row in sums]
        return [bleu.compute_bleu(row[:4], row[4:8], row[8], row[9], smooth_method=bleu.smooth_method).score for row in rows]


def _tails(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2


def sacrebleu_metric() -> Any:
    """sacrebleu's BLEU with its default settings. Raises UserError if the package is missing."""
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        raise UserError(f"BLEU needs the package sacrebleu: {INSTALL}.") from None
    return BLEU()


def rouge_l(references: Sequence[str], text: str) -> float:
    """F measure of ROUGE-L by rouge-score (without stemming) for the reference that fits best, 0 to 1; 0 without references.

    Raises UserError if the package is missing.
    """
    scorer = rouge_scorer()
    return max((float(scorer.score(reference, text)["rougeL"].fmeasure) for reference in references), default=0.0)


def rouge_scorer() -> Any:
    """rouge-score's ROUGE-L. Raises UserError if the package is missing."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise UserError(f"ROUGE needs the package rouge-score: {INSTALL}.") from None
    return RougeScorer(["rougeL"])
