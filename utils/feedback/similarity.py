"""Similarity of points offline: words and characters, without the topic of the document, relative to other documents.

Two feedbacks on one document always share its vocabulary. So the topic (title, abstract, what the other reviewers write that
is no concern) is a direction that is projected out of both texts of every pair. In a shuffled pair there are two topics, and
both are projected out of both texts: a real pair must not lose more than a shuffled one. What remains is compared with the
similarity of both points to points of other documents: a phrase that fits everywhere ("more experiments are needed") needs
more.

Similarity of this kind does not see negation: "is novel" and "is not novel" are near. So only concerns are matched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.core.runtime import numpy_rng
from utils.feedback.extract import other_sentences
from utils.feedback.features import Floats, hashing
from utils.feedback.records import Feedback, Point, by_feedback

REFERENCE_POINTS = 300  # of other documents, against which every point's similarity is measured
SMALLEST_SPREAD = 0.02  # a point that is similar to nothing would have none
SMALLEST_DIRECTION, SMALLEST_REST = 1e-6, 1e-3  # below, topics are parallel, and of a text nothing is left
TITLE_WEIGHT = 0.5  # of the title beside the mean of the sentences on the topic
SIMILARITY_BITS = 15  # of hashed features; more only cost time
TOPIC_SENTENCES = 8  # of each feedback, from its beginning, where a review says what the document is about
SPACES = ("words", "characters")
FEATURES = (
    "words", "words above usual", "characters", "characters above usual", "length", "difference of lengths",
    "above the others of a", "above the others of b",
)  # fmt: skip


class TextSpace:
    """TF-IDF vectors of unit length in one space (words or characters), with the idf of the texts it is fitted on."""

    def __init__(self, name: str, texts: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfTransformer

        self._hashing = hashing(SIMILARITY_BITS, words=name == "words")
        counts = self._hashing.transform(texts)
        self._tfidf = TfidfTransformer(sublinear_tf=True).fit(counts)

    def vectors(self, texts: Sequence[str]) -> Any:
        """Sparse rows of unit length (zero for a text without words): (number of texts, number of features)."""
        return self._tfidf.transform(self._hashing.transform(texts))


def projected_cosine(a: Any, b: Any, topics: Sequence[Any]) -> Floats:
    """Cosines of the rows of `a` and `b` after the span of `topics` was projected out of both: (rows of a, rows of b).

    a, b: sparse rows of unit length. topics: sparse rows (1, features) of unit length, or zero. With u_k orthonormal
    directions of their span, x' = x - sum_k (x.u_k) u_k, so x'.y' = x.y - sum_k (x.u_k)(y.u_k) and |x'|^2 = |x|^2 - sum_k
    (x.u_k)^2. A text of which almost nothing remains has cosine 0 with everything.
    """
    from scipy.sparse import vstack

    rows = vstack([a, b, *topics], format="csr")
    dots = (rows @ rows.T).toarray()
    texts, n_a = a.shape[0] + b.shape[0], a.shape[0]
    values, vectors = np.linalg.eigh(dots[texts:, texts:])
    kept = values > SMALLEST_DIRECTION
    inside = dots[:texts, texts:] @ (vectors[:, kept] / np.sqrt(values[kept]))  # x.u_k: (texts, directions)
    rest = np.sqrt(np.maximum(np.diag(dots)[:texts] - (inside**2).sum(axis=1), 0.0))
    scale = np.outer(rest[:n_a], rest[n_a:])
    cosine = (dots[:n_a, n_a:texts] - inside[:n_a] @ inside[n_a:].T) / np.maximum(scale, SMALLEST_REST)
    return np.where(scale > SMALLEST_REST, cosine, 0.0)


class PointSpace:
    """Similarities of the points of some feedbacks, each on any document.

    points: of all feedbacks. feedback: gives title, topic and the sentences that are no concern. What is usual for a point is
    measured on points of other documents, so at least two documents are needed.
    """

    def __init__(self, points: Sequence[Point], feedback: Sequence[Feedback], seed: int = 0) -> None:
        groups = by_feedback(points)
        self._feedback = feedback
        self._told = [other_sentences(row, groups.get(row.key, []))[:TOPIC_SENTENCES] for row in feedback]
        self._people: dict[str, list[int]] = {}
        for i, row in enumerate(feedback):
            if row.source == "human":
                self._people.setdefault(row.document_id, []).append(i)
        documents = list(dict.fromkeys(row.document_id for row in feedback))
        self._document = {name: i for i, name in enumerate(documents)}
        titled = {row.document_id: [text for text in (row.title, row.topic) if text.strip()] for row in feedback}
        texts = [point.verbatim for point in points]
        of_points = np.array([self._document[point.document_id] for point in points])
        places = _places(points)
        self._spaces = [
            _Space(
                name, texts, of_points, [places.get(row.key, []) for row in feedback], self._told, list(titled.values()), seed
            )
            for name in SPACES
        ]

    def topic(self, document: str, without: Collection[str]) -> list[Any]:
        """The unit vector of a document's topic in each space, as sparse rows; zero if nothing is known.

        Title and topic, and the mean of the sentences that are no concern by people other than `without` (the two reviewers
        that are compared: their own words are not counted against them).
        """
        others = [i for i in self._people.get(document, ()) if self._feedback[i].reviewer not in without]
        count = max(sum(len(self._told[i]) for i in others), 1)
        return [space.topic(self._document[document], others, count) for space in self._spaces]

    def features(self, a: int, b: int, topics: Sequence[Sequence[Any]]) -> Floats:
        """Everything that pairs of points of feedbacks a and b are judged by: (points of a, points of b, len(FEATURES)).

        topics: of the one or two documents, from `topic`; none: nothing is projected out.
        """
        columns: list[Floats] = []
        for number, space in enumerate(self._spaces):
            rows = space.blocks[a], space.blocks[b]
            cosine = projected_cosine(*rows, [topic[number] for topic in topics])
            (mean_a, spread_a), (mean_b, spread_b) = space.usual[a], space.usual[b]
            by_a, by_b = (cosine - mean_a[:, None]) / spread_a[:, None], (cosine - mean_b) / spread_b
            columns += [cosine, (by_a + by_b) / 2]
        long_a, long_b = (np.log1p(self._spaces[0].blocks[side].getnnz(axis=1).astype(float)) for side in (a, b))
        columns += [long_a[:, None] + long_b, np.abs(long_a[:, None] - long_b)]
        mean_score = (columns[1] + columns[3]) / 2
        columns += [_above_others(mean_score, 0), _above_others(mean_score, 1)]
        return np.stack(columns, axis=-1)


class _Space:
    """What `PointSpace` keeps in one space: rows of points by feedback, their usual similarity, sums for topics.

    blocks: by feedback, sparse (points, features). usual: by feedback, mean and spread of each point's similarity to points of
    other documents.
    """

    def __init__(
        self,
        name: str,
        texts: Sequence[str],
        documents: npt.NDArray[np.int_],
        places: Sequence[Sequence[int]],
        told: Sequence[Sequence[str]],
        titles: Sequence[Sequence[str]],
        seed: int,
    ) -> None:
        space = TextSpace(name, texts)
        rows = space.vectors(texts)
        mean, spread = _against_others(rows, documents, seed)
        self.blocks = [rows[list(part)] for part in places]
        self.usual = [(mean[list(part)], spread[list(part)]) for part in places]
        self._told, self._titles = _sums(space, told), _sums(space, titles)

    def topic(self, document: int, others: Sequence[int], count: int) -> Any:
        """As in `PointSpace.topic`, in this space."""
        total = self._titles[document] * TITLE_WEIGHT
        for i in others:
            total = total + self._told[i] / count
        length = np.sqrt(total.multiply(total).sum())
        return total / length if length > 0 else total


def _places(points: Sequence[Point]) -> dict[tuple[str, str], list[int]]:
    """Places of the points of each feedback in the list."""
    found: dict[tuple[str, str], list[int]] = {}
    for i, point in enumerate(points):
        found.setdefault((point.document_id, point.reviewer), []).append(i)
    return found


def _against_others(rows: Any, documents: npt.NDArray[np.int_], seed: int) -> tuple[Floats, Floats]:
    """Mean and spread of each point's similarity to a sample of points of other documents."""
    chosen = numpy_rng(seed, "feedback", "reference points").permutation(rows.shape[0])[:REFERENCE_POINTS]
    dots = (rows @ rows[chosen].T).toarray()  # (points, reference points)
    other = documents[:, None] != documents[chosen][None, :]
    counts = np.maximum(other.sum(axis=1), 1)
    mean = (dots * other).sum(axis=1) / counts
    spread = np.sqrt((((dots - mean[:, None]) ** 2) * other).sum(axis=1) / counts)
    return mean, np.maximum(spread, SMALLEST_SPREAD)


def _above_others(scores: Floats, axis: int) -> Floats:
    """How far each score is above the mean of the others along an axis; 0 if there is no other."""
    n = scores.shape[axis]
    return (scores - scores.mean(axis=axis, keepdims=True)) * (n / (n - 1)) if n > 1 else np.zeros_like(scores)


def _sums(space: TextSpace, groups: Sequence[Sequence[str]]) -> Any:
    """The sum of the vectors of each group of texts: (number of groups, number of features), sparse."""
    from scipy.sparse import csr_matrix

    flat = [text for group in groups for text in group]
    ends = np.cumsum([0, *(len(group) for group in groups)])
    summing = csr_matrix((np.ones(len(flat)), np.arange(len(flat)), ends), shape=(len(groups), max(len(flat), 1)))
    return csr_matrix(summing @ space.vectors(flat or [""]))
