"""Stage 1: the points of each feedback. Every backend gives the same `Point` rows.

`RulesExtractor` needs no training, `ClassifierExtractor` (utils.feedback.classifier) learns from your labels, `PromptExtractor`
(utils.feedback.prompted) asks a language model. The first two score sentences; `merge` makes points of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from utils.feedback.features import CUES, HEADINGS, Floats, cue_counts, layout
from utils.feedback.records import Feedback, Point
from utils.feedback.text import Sentence, joined, sentences

LARGEST_GAP = 2  # sentences from one concern to the next within one point
RULES_VERSION = "rules 1"
# Points for and against a concern, written by hand; a sentence is a concern at RULES_THRESHOLD or more.
RULES = {
    "question": 2.0, "negative": 2.0, "request": 1.5, "modal": 1.0, "negation": 1.0, "contrast": 0.5, "interrogative": 0.5,
    "praise": -1.0, "about": -0.5, "thanks": -0.5,
}  # fmt: skip
NEGATED_PRAISE = 2.0  # "is not clear", which otherwise is a negation and a praise
_NEGATED_PRAISE = re.compile(
    r"(?:\b(?:not|never|hardly|nor)|n't)\s(?:\w+\s){0,2}"
    r"(?:clear\w*|convinc\w+|novel|well|strong\w*|solid|thorough\w*|enough|sufficient\w*|good|obvious)\b",
    re.IGNORECASE,
)
SECTION_RULES = {"weakness": 1.5, "question": 1.0, "strength": -1.5, "summary": -1.5, "minor": -0.5}
OPENING = -1.5  # for the first fifth of a text, where a review says what the document is about
RULES_THRESHOLD = 0.5
_LAYOUT_COLUMNS = 17  # of `features.layout`, before the headings


class Extractor(Protocol):
    """Makes points of feedback. `name`: what is written into each point."""

    name: str

    def extract(self, rows: Sequence[Feedback]) -> list[Point]:
        """Points of every feedback, in the order of the text. A feedback without a concern gives none."""
        ...


class RulesExtractor:
    """Concerns by fixed cues (questions, requests, negative words, headings): the offline default, no training."""

    name = f"{RULES_VERSION} @{RULES_THRESHOLD:g}"

    def extract(self, rows: Sequence[Feedback]) -> list[Point]:
        """As in `Extractor`. confidence: the score on a logistic scale, 0.5 at the threshold."""
        points: list[Point] = []
        for row in rows:
            found = sentences(row.text)
            scores = rule_scores(row.text, found)
            points += merge(row, found, 1 / (1 + np.exp(RULES_THRESHOLD - scores)), 0.5, self.name)
        return points


def rule_scores(text: str, found: Sequence[Sentence]) -> Floats:
    """Score of each sentence of a text under `RULES`: (number of sentences,)."""
    if not found:
        return np.zeros(0)
    table = layout(text, found)
    kinds = table[:, _LAYOUT_COLUMNS : _LAYOUT_COLUMNS + len(HEADINGS)]  # of the heading above
    cues = np.array([cue_counts(text[s.start : s.end]) for s in found])
    scores = cues @ np.array([RULES.get(name, 0.0) for name in CUES])
    scores += NEGATED_PRAISE * np.array([_NEGATED_PRAISE.search(text[s.start : s.end]) is not None for s in found])
    scores += kinds @ np.array([SECTION_RULES[name] for name in HEADINGS])
    scores += OPENING * (table[:, 0] < 0.2) * (len(found) > 4)
    heading = table[:, 12] > 0
    return np.where(heading, -5.0, scores)


def merge(row: Feedback, found: Sequence[Sentence], confidence: Floats, threshold: float, name: str) -> list[Point]:
    """Points of a feedback: runs of concern sentences of one line, at most `LARGEST_GAP` apart.

    Layout decides because it says more than similarity of the words does: reviewers write one point per paragraph or list item.
    """
    runs: list[list[int]] = []
    for i in np.flatnonzero(confidence >= threshold).tolist():
        before = found[runs[-1][-1]] if runs else None
        if before is not None and before.line == found[i].line and i - runs[-1][-1] <= LARGEST_GAP:
            runs[-1].append(i)
        else:
            runs.append([i])
    points = []
    for number, run in enumerate(runs, 1):
        spans = tuple((found[i].start, found[i].end) for i in run)
        sure = float(max(confidence[i] for i in run))
        points.append(
            Point(row.document_id, row.reviewer, number, joined(row.text, spans), spans, confidence=sure, extractor=name)
        )
    return points


def other_sentences(row: Feedback, points: Sequence[Point]) -> list[str]:
    """Sentences of a feedback that no point covers: mostly summary and praise, which say what the document is about."""
    taken = np.zeros(len(row.text) + 1, dtype=bool)
    for start, end in (span for point in points for span in point.spans):
        taken[start:end] = True
    return [row.text[s.start : s.end] for s in sentences(row.text) if not taken[s.start : s.end].any()]
