"""A classifier of sentences trained on your own labels: concern or not, and the aspect of a concern.

Logistic regression on hashed words and characters, layout, headings and cues, each also of the sentence before and after.
Trained with scikit-learn; saved as weights (safetensors) and settings (JSON). The weights hold no words of the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.core.errors import UserError
from utils.core.io import PathLike, digest, read_json, read_tensors, write_json, write_tensors
from utils.feedback.extract import merge
from utils.feedback.features import CHARACTER_BITS, WORD_BITS, Floats, hashing, layout
from utils.feedback.records import Feedback, Point, SpanLabel, by_feedback
from utils.feedback.text import Sentence, sentences

VERSION = "classifier 1"
THRESHOLDS = ("count", "f1", "half")
COVERED = 0.5  # of a sentence's characters must be in concern labels
FEWEST_LABELS = 10  # sentences of each kind
NEIGHBOUR_WEIGHT = 0.5
FOLDS = 4


@dataclass(frozen=True)
class Labelled:
    """The sentences of one feedback with their labels. kinds: `SpanLabel.kind`, or "concern" and "other" without."""

    row: Feedback
    found: list[Sentence]
    concerns: list[bool]
    kinds: list[str]


def labelled_sentences(feedback: Sequence[Feedback], labels: Sequence[SpanLabel]) -> list[Labelled]:
    """The sentences of every feedback that has labels; a concern is one that concern labels cover by half or more.

    Raises UserError for a label without its feedback or outside its text.
    """
    known = {row.key: row for row in feedback}
    found = []
    for key, group in by_feedback(labels).items():
        row = known.get(key)
        if row is None:
            raise UserError(
                f"A label names {key[1]} on {key[0]}, and there is no such feedback: give the file that was labeled."
            )
        wrong = next((label for label in group if label.end > len(row.text)), None)
        if wrong is not None:
            raise UserError(
                f"A label of {key[1]} on {key[0]} ends at {wrong.end}, and the text has {len(row.text)} characters: the labels "
                "were made on another text."
            )
        parts = sentences(row.text)
        marked = [_label_of(sentence, group) for sentence in parts]
        found.append(Labelled(row, parts, [concern for concern, _ in marked], [kind for _, kind in marked]))
    return found


def _label_of(sentence: Sentence, group: Sequence[SpanLabel]) -> tuple[bool, str]:
    """Whether concern labels cover `COVERED` of a sentence, and the kind of the label of this sort that covers most of it."""
    shared = [_shared(sentence, label) for label in group]
    inside = sum(n for n, label in zip(shared, group, strict=True) if label.concern)
    concern = inside >= COVERED * (sentence.end - sentence.start)
    chosen = max((i for i in range(len(group)) if group[i].concern == concern), key=shared.__getitem__, default=None)
    kind = group[chosen].kind if chosen is not None and shared[chosen] else ""
    return concern, kind or ("concern" if concern else "other")


def _shared(sentence: Sentence, label: SpanLabel) -> int:
    return max(0, min(sentence.end, label.end) - max(sentence.start, label.start))


class ConcernClassifier:
    """Probabilities that sentences are concerns. Make one with `train_classifier` or `load`.

    weights: for "words" and "characters" the columns used and their idf; for these and "layout" a matrix (columns, classes)
    for the sentence itself, the one before and the one after; the bias (classes,). A class is a kind of sentence; the first
    `note["concern_classes"]` of them are concerns.
    """

    def __init__(self, weights: dict[str, npt.NDArray[Any]], threshold: float, note: dict[str, Any]) -> None:
        self.weights, self.threshold, self.note = weights, threshold, note
        self._hashings = {"words": hashing(WORD_BITS, True), "characters": hashing(CHARACTER_BITS, False)}
        self.name = f"{VERSION} {note['learned_from']} @{threshold:.2f}"

    def probabilities(self, text: str, found: Sequence[Sentence]) -> Floats:
        """(number of sentences,)."""
        return self.many([(text, found)])[0]

    def many(self, texts: Sequence[tuple[str, Sequence[Sentence]]]) -> list[Floats]:
        """`probabilities` of several texts, with one pass over all their sentences."""
        groups = [len(found) for _, found in texts]
        if not sum(groups):
            return [np.zeros(0) for _ in groups]
        flat = [text[s.start : s.end] for text, found in texts for s in found]
        columns = [self._vectors(kind, flat) for kind in self._hashings] + [
            np.vstack([layout(*one) for one in texts if one[1]])
        ]
        own, before, after = (
            sum(column @ self.weights[f"{kind}.{place}"] for kind, column in zip(KINDS, columns, strict=True))
            for place in ("own", "before", "after")
        )
        logits = np.asarray(own + self.weights["bias"], dtype=np.float64)  # (sentences, classes)
        starts = np.cumsum([0, *groups])
        result = []
        for a, b in zip(starts[:-1], starts[1:], strict=True):
            part = logits[a:b].copy()
            part[1:] += before[a : b - 1]
            part[:-1] += after[a + 1 : b]
            shares = np.exp(part - part.max(axis=1, keepdims=True))
            result.append(shares[:, : int(self.note["concern_classes"])].sum(axis=1) / shares.sum(axis=1))
        return result

    def _vectors(self, kind: str, flat: Sequence[str]) -> Any:
        return _tfidf(self._hashings[kind].transform(flat)[:, self.weights[f"{kind}.columns"]], self.weights[f"{kind}.idf"])

    def save(self, folder: PathLike) -> None:
        """Write weights.safetensors and classifier.json."""
        import torch

        write_tensors(Path(folder) / "weights.safetensors", {k: torch.from_numpy(v.copy()) for k, v in self.weights.items()})
        write_json(Path(folder) / "classifier.json", {"version": VERSION, "threshold": self.threshold, "note": self.note})

    @classmethod
    def load(cls, folder: PathLike) -> ConcernClassifier:
        """Read what `save` wrote. Raises UserError if it is missing, broken or of another version."""
        found = read_json(Path(folder) / "classifier.json")
        if not isinstance(found, dict) or found.get("version") != VERSION:
            raise UserError(f"{folder}: this is no classifier of this version ({VERSION}): train it again.")
        tensors, _ = read_tensors(Path(folder) / "weights.safetensors")
        return cls({k: v.numpy() for k, v in tensors.items()}, float(found["threshold"]), dict(found["note"]))


class ClassifierExtractor:
    """Points by a trained classifier. threshold: replaces the classifier's own."""

    def __init__(self, classifier: ConcernClassifier, threshold: float | None = None) -> None:
        self.classifier = classifier
        self.threshold = classifier.threshold if threshold is None else threshold
        self.name = classifier.name

    def extract(self, rows: Sequence[Feedback]) -> list[Point]:
        """As in `extract.Extractor`."""
        found = [sentences(row.text) for row in rows]
        sure = self.classifier.many([(row.text, part) for row, part in zip(rows, found, strict=True)])
        return [
            point
            for row, part, values in zip(rows, found, sure, strict=True)
            for point in merge(row, part, values, self.threshold, self.name)
        ]


KINDS = ("words", "characters", "layout")


def _tfidf(counts: Any, idf: npt.NDArray[np.float32]) -> Any:
    """Rows of (1 + log count) * idf, of unit length."""
    from sklearn.preprocessing import normalize

    found = counts.astype(np.float32)
    found.data = 1 + np.log(found.data)
    return normalize(found.multiply(idf).tocsr(), copy=False)


def train_classifier(
    feedback: Sequence[Feedback],
    labels: Sequence[SpanLabel],
    threshold: str = "count",
    strength: float = 1.0,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> ConcernClassifier:
    """Train on all labelled feedback.

    threshold: "count" (as many sentences are found as were labelled) or "f1" (highest F1; it finds more than were labelled),
    both by cross-validation over documents; "half": 0.5, without it, in a fifth of the time. strength: C of the logistic
    regression. Raises UserError if there are too few labels.
    """
    if threshold not in THRESHOLDS:
        raise ValueError(f"threshold is {threshold!r}: use one of {', '.join(THRESHOLDS)}.")
    rows = labelled_sentences(feedback, labels)
    wanted = np.array([concern for row in rows for concern in row.concerns])
    if min(wanted.sum(), (~wanted).sum()) < FEWEST_LABELS:
        raise UserError(
            f"The labels mark {int(wanted.sum())} concern sentences and {int((~wanted).sum())} others: label more, at least "
            f"{FEWEST_LABELS} of each."
        )
    if threshold == "half":
        return _classifier(rows, strength, 0.5, threshold)
    documents = [row.row.document_id for row in rows]
    names = list(dict.fromkeys(documents))
    folds = min(FOLDS, len(names))
    fold = {name: i % folds for i, name in enumerate(names)}
    if folds < 2:
        tell("one document only: the threshold is 0.5, because nothing can be held out to choose it")
        return _classifier(rows, strength, 0.5, "fixed")
    sure = [np.zeros(0)] * len(rows)
    for held in range(folds):
        inside = [row for row, name in zip(rows, documents, strict=True) if fold[name] != held]
        part = _classifier(inside, strength, 0.5, "fixed")
        outside = [i for i, name in enumerate(documents) if fold[name] == held]
        for i, values in zip(outside, part.many([(rows[i].row.text, rows[i].found) for i in outside]), strict=True):
            sure[i] = values
        tell(f"fold {held + 1} of {folds}")
    chosen = _threshold(np.concatenate(sure), wanted, threshold)
    return _classifier(rows, strength, chosen, threshold)


def learned_from(rows: Sequence[Labelled]) -> str:
    """Short digest of labelled texts, under which a classifier says what it learned from."""
    return digest([[row.row.text, row.kinds, row.concerns] for row in rows])[:8]


def _classifier(rows: Sequence[Labelled], strength: float, threshold: float, rule: str) -> ConcernClassifier:
    """Fit on these sentences. The note says what it learned from."""
    flat = [(kind, concern) for row in rows for kind, concern in zip(row.kinds, row.concerns, strict=True)]
    classes = sorted(set(flat), key=lambda item: (not item[1], item[0]))
    place = {item: i for i, item in enumerate(classes)}
    concerns = sum(concern for _, concern in classes)
    if concerns in (0, len(classes)):
        raise UserError("The labels of some documents mark every sentence or none: label more documents.")
    note = {
        "learned_from": learned_from(rows), "feedback": len(rows),
        "classes": [kind for kind, _ in classes], "concern_classes": concerns, "threshold_rule": rule, "strength": strength,
    }  # fmt: skip
    weights = _fit(rows, np.array([place[item] for item in flat]), strength)
    return ConcernClassifier(weights, threshold, note)


def _threshold(sure: Floats, wanted: npt.NDArray[np.bool_], rule: str) -> float:
    """The threshold in (0, 1) that keeps the count right, or that gives the highest F1."""
    if rule == "count":
        return float(np.clip(np.sort(sure)[::-1][int(wanted.sum()) - 1], 0.05, 0.95))
    grid = np.arange(0.05, 0.96, 0.01)
    f1 = [2 * (wanted & (sure >= t)).sum() / (wanted.sum() + (sure >= t).sum()) for t in grid]
    return float(grid[int(np.argmax(f1))])


def _fit(rows: Sequence[Labelled], wanted: npt.NDArray[np.int_], strength: float) -> dict[str, npt.NDArray[Any]]:
    """Weights of a multinomial logistic regression on the sentences of `rows`; wanted: (sentences,) their classes."""
    from scipy.sparse import csr_matrix, diags, hstack
    from sklearn.linear_model import LogisticRegression

    flat = [row.row.text[s.start : s.end] for row in rows for s in row.found]
    weights: dict[str, npt.NDArray[Any]] = {}
    columns = []
    for kind, hashed in (("words", hashing(WORD_BITS, True)), ("characters", hashing(CHARACTER_BITS, False))):
        counts = hashed.transform(flat)
        seen = np.asarray((counts > 0).sum(axis=0)).ravel()
        kept = np.flatnonzero(seen >= 2)  # what is in one sentence only says nothing about others
        idf = (np.log((1 + len(flat)) / (1 + seen[kept])) + 1).astype(np.float32)
        weights |= {f"{kind}.columns": kept.astype(np.int64), f"{kind}.idf": idf}
        columns.append(_tfidf(counts[:, kept], idf))
    columns.append(csr_matrix(np.vstack([layout(row.row.text, row.found) for row in rows if row.found])))
    # The last sentence of one text and the first of the next are no neighbours.
    linked = np.full(len(flat) - 1, NEIGHBOUR_WEIGHT)
    ends = np.cumsum([len(row.found) for row in rows])
    linked[ends[(ends > 0) & (ends < len(flat))] - 1] = 0.0
    before, after = diags([linked], [-1]), diags([linked], [1])
    table = hstack([part for column in columns for part in (column, before @ column, after @ column)]).tocsr()
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(table, wanted)
    found, bias = model.coef_.T, model.intercept_  # (columns, classes)
    if found.shape[1] == 1:  # two classes have one column, for the second
        found, bias = np.hstack([np.zeros_like(found), found]), np.array([0.0, bias[0]])
    at = 0
    for kind, column in zip(KINDS, columns, strict=True):
        for place in ("own", "before", "after"):
            scale = 1.0 if place == "own" else NEIGHBOUR_WEIGHT
            weights[f"{kind}.{place}"] = (found[at : at + column.shape[1]] * scale).astype(np.float32)
            at += column.shape[1]
    return weights | {"bias": bias.astype(np.float32)}
