"""Stage 2: which points of two feedbacks on one document say the same, beside the same question on shuffled documents.

Offline, the threshold is set at a stated null rate: the share of a person's points whose most similar point in a feedback on
*another* document reaches it. It is set on the documents of the other half, so no document sets its own threshold. A language
model gives similarities from 5 to 10 itself (utils.feedback.prompted); 7 or more are kept, as in the paper.
"""

from __future__ import annotations

import bisect
import itertools
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from utils.core.errors import UserError
from utils.core.io import PathLike, read_json, write_json
from utils.core.runtime import python_rng
from utils.feedback.features import Floats
from utils.feedback.records import Feedback, Match, Point
from utils.feedback.similarity import FEATURES, PointSpace

MATCHER_VERSION = "similarity 1"
KEPT_SIMILARITY = 7  # of the paper's scale from 5 to 10
BANDS = ((5, 5.0), (6, 2.5), (7, 1.0), (8, 0.25), (9, 0.0625))  # similarity: chance of a shuffled point, in null rates
FOLDS = 2


@dataclass(frozen=True)
class MatchSettings:
    """null_rate: share of points that may match a shuffled feedback (paper, ICLR: 3.91 %). shuffles: shuffled feedbacks that
    every feedback is compared with. project: remove the topic (off only to show what happens then)."""

    null_rate: float = 0.04
    shuffles: int = 2
    seed: int = 0
    project: bool = True


@dataclass(frozen=True)
class Scorer:
    """One number per pair of points: the weighted sum of `similarity.FEATURES`.

    The default weighs what is above usual in words and in characters, half each. `fit_scorer` learns weights from labels.
    """

    weights: tuple[float, ...] = (0.0, 0.5, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0)
    name: str = MATCHER_VERSION

    def __call__(self, features: Floats) -> Floats:
        """Scores of pairs from (..., len(FEATURES))."""
        return features @ np.array(self.weights)

    def save(self, path: PathLike) -> None:
        """Write weights as JSON."""
        write_json(path, {"name": self.name, "features": FEATURES, "weights": self.weights})

    @classmethod
    def plain(cls) -> Scorer:
        """The mean cosine in words and characters, without what is usual for a point: to show what then goes wrong."""
        return cls((0.5, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0), "plain cosine 1")

    @classmethod
    def load(cls, path: PathLike) -> Scorer:
        """Read what `save` wrote. Raises UserError if the file's features are not those of this version."""
        found = read_json(path)
        if not isinstance(found, dict) or tuple(found.get("features", ())) != FEATURES:
            raise UserError(f"{path}: this is no matcher of this version: fit it again with scripts/feedback.py verify --fit.")
        return cls(tuple(map(float, found["weights"])), str(found["name"]))


class Pair(NamedTuple):
    """Two feedbacks whose points are compared, as places in the list of feedback."""

    a: int
    b: int
    null: str


def real_pairs(feedback: Sequence[Feedback]) -> list[Pair]:
    """Every two feedbacks on one document of which b is a person's; never a dummy and the person it stands for."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(feedback):
        groups[row.document_id].append(i)
    pairs = []
    for places in groups.values():
        for i, j in itertools.combinations(places, 2):
            one, two = feedback[i], feedback[j]
            if one.reviewer == two.stands_for or two.reviewer == one.stands_for:
                continue
            if two.source == "human":
                pairs.append(Pair(i, j, "real"))
            elif one.source == "human":
                pairs.append(Pair(j, i, "real"))
    return pairs


def shuffled_pairs(feedback: Sequence[Feedback], shuffles: int, seed: int) -> list[Pair]:
    """Every feedback with people's feedback on other documents of its venue and year (paper, p. 9), `shuffles` of each.

    Where a venue and year has one document only, documents of all are used. Raises UserError if there is one document only.
    """
    strata: dict[tuple[str, int | None], list[int]] = defaultdict(list)
    for i, row in enumerate(feedback):
        if row.source == "human":
            strata[row.venue, row.year].append(i)
    people = [i for places in strata.values() for i in places]
    if len({feedback[i].document_id for i in people}) < 2:
        raise UserError(
            "The shuffle needs people's feedback on at least two documents, and there is only one: add other documents."
        )
    pairs = []
    for i, row in enumerate(feedback):
        near = [j for j in strata[row.venue, row.year] if feedback[j].document_id != row.document_id]
        pool = near or [j for j in people if feedback[j].document_id != row.document_id]
        rng = python_rng(seed, "feedback", "shuffle", row.document_id, row.reviewer)
        pairs += [Pair(i, j, "shuffled") for j in rng.sample(pool, min(shuffles, len(pool)))]
    return pairs


@dataclass(frozen=True)
class Matches:
    """The matches with similarity 5 or more, all compared pairs (also those without a match), and the thresholds by half."""

    rows: list[Match]
    pairs: list[Pair]
    thresholds: tuple[float, ...]


def match_feedback(
    feedback: Sequence[Feedback],
    points: Sequence[Point],
    settings: MatchSettings | None = None,
    scorer: Scorer | None = None,
) -> Matches:
    """Matches of the points of all feedbacks, real and shuffled, by text similarity.

    Raises UserError if no document has two reviewers, or if there is only one document (no null rate can be set).
    """
    settings, scorer = settings or MatchSettings(), scorer or Scorer()
    real = real_pairs(feedback)
    if not real:
        raise UserError("No document has feedback by two reviewers: a match needs a second reviewer on the same document.")
    pairs = real + shuffled_pairs(feedback, settings.shuffles, settings.seed)
    places = _points_of(feedback, points)
    scores = score_pairs(feedback, points, pairs, scorer, settings)
    nulls = [_best_of_shuffled(feedback, pairs, scores, fold) for fold in range(FOLDS)]
    rows: list[Match] = []
    for pair, table in zip(pairs, scores, strict=True):
        null = nulls[fold_of(feedback[pair.a].document_id)]
        name = f"{scorer.name} @{settings.null_rate:g}"
        for i, j in np.argwhere(table >= _threshold(null, settings.null_rate * BANDS[0][1])):
            chance = (len(null) - bisect.bisect_left(null, table[i, j])) / len(null)
            similarity = max((level for level, rates in BANDS if chance <= settings.null_rate * rates), default=0)
            if not similarity:  # many shuffled points have this very score
                continue
            a, b = points[places[pair.a][i]], points[places[pair.b][j]]
            rows.append(
                Match(
                    a.document_id, a.reviewer, a.point, b.document_id, b.reviewer, b.point, similarity,
                    similarity >= KEPT_SIMILARITY, pair.null, round(chance, 5), "", name,
                )
            )  # fmt: skip
    return Matches(rows, pairs, tuple(_threshold(null, settings.null_rate) for null in nulls))


def score_pairs(
    feedback: Sequence[Feedback], points: Sequence[Point], pairs: Iterable[Pair], scorer: Scorer, settings: MatchSettings
) -> list[Floats]:
    """Scores of all points of a with all of b, for each pair: (points of a, points of b)."""
    return [scorer(table) for table in pair_features(feedback, points, pairs, settings)]


def pair_features(
    feedback: Sequence[Feedback], points: Sequence[Point], pairs: Iterable[Pair], settings: MatchSettings
) -> Iterable[Floats]:
    """`PointSpace.features` of each pair of feedbacks, one after the other."""
    if not points:
        raise UserError("There are no points to match: no feedback has a concern, or the extraction found none.")
    space = PointSpace(points, feedback, settings.seed)
    reviewers: dict[str, set[str]] = defaultdict(set)
    for row in feedback:
        reviewers[row.document_id].add(row.reviewer)
    topics: dict[tuple[str, frozenset[str]], list[Any]] = {}
    for pair in pairs:
        a, b = feedback[pair.a], feedback[pair.b]
        without = {a.reviewer, b.reviewer, a.stands_for, b.stands_for}
        wanted = dict.fromkeys((row.document_id, frozenset(without & reviewers[row.document_id])) for row in (a, b))
        for key in wanted if settings.project else ():
            if key not in topics:
                topics[key] = space.topic(*key)
        yield space.features(pair.a, pair.b, [topics[key] for key in wanted] if settings.project else [])


def fold_of(document: str) -> int:
    """The half a document belongs to, by the hash of its name."""
    return zlib.crc32(document.encode()) % FOLDS


def _points_of(feedback: Sequence[Feedback], points: Sequence[Point]) -> list[list[int]]:
    """Places of the points of each feedback. Raises UserError for a point without its feedback."""
    found: dict[tuple[str, str], list[int]] = {row.key: [] for row in feedback}
    for i, point in enumerate(points):
        if (point.document_id, point.reviewer) not in found:
            raise UserError(f"Point {point.point} of {point.reviewer} on {point.document_id} has no feedback: give its file.")
        found[point.document_id, point.reviewer].append(i)
    return [found[row.key] for row in feedback]


def _best_of_shuffled(feedback: Sequence[Feedback], pairs: Sequence[Pair], scores: Sequence[Floats], fold: int) -> list[float]:
    """For every person's point on documents outside the fold: its best score in a shuffled feedback, sorted.

    With documents in one half only, all of them are used.
    """
    best: dict[bool, list[float]] = {True: [], False: []}
    for pair, table in zip(pairs, scores, strict=True):
        if pair.null == "shuffled" and feedback[pair.a].source == "human" and table.size:
            best[fold_of(feedback[pair.a].document_id) != fold].extend(table.max(axis=1).tolist())
    found = sorted(best[True] or best[False])
    if not found:
        raise UserError("The null rate cannot be set: no shuffled pair of feedbacks has points on both sides.")
    return found


def _threshold(null: Sequence[float], rate: float) -> float:
    """The score that a share `rate` of the sorted best shuffled scores reaches."""
    return null[min(len(null) - 1, round(len(null) * (1 - rate)))]
