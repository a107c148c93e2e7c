"""Rows of the feedback files: feedback, points, matches and labels, one JSON object per line.

Every stage reads and writes these files, so any stage can also be another program's or a person's. Reading checks each row and
raises UserError that names file, row, field and remedy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from utils.core.errors import UserError
from utils.core.io import PathLike, read_rows
from utils.feedback.text import find_quote, joined

SOURCES = ("human", "model", "dummy")
NULLS = ("real", "shuffled")
LOWEST_SIMILARITY, HIGHEST_SIMILARITY = 5, 10


class PointKey(NamedTuple):
    """Which point is meant: the document, the reviewer, and the number of the point in this reviewer's feedback."""

    document_id: str
    reviewer: str
    point: int


@dataclass(frozen=True)
class Feedback:
    """One feedback: what one reviewer (a person or a system) wrote on one document.

    title and topic (an abstract, the first lines of the document) say what the document is about: matching removes that. venue
    and year: strata of the shuffle. source: "human", "model" or "dummy". split: free, such as "train". stands_for: the
    reviewer in whose place a dummy writes (an echo of this reviewer's own text): the two are not compared.
    """

    document_id: str
    reviewer: str
    text: str
    source: str = "human"
    title: str = ""
    topic: str = ""
    venue: str = ""
    year: int | None = None
    split: str = ""
    stands_for: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Document and reviewer: unique in a file."""
        return self.document_id, self.reviewer


@dataclass(frozen=True)
class Point:
    """One concern in a feedback.

    point: its number, from 1, in the order of the text. verbatim: the exact words, which are `text[start:end]` of each span,
    joined by a space. confidence: 0 to 1. extractor: who made it, with version and threshold.
    """

    document_id: str
    reviewer: str
    point: int
    verbatim: str
    spans: tuple[tuple[int, ...], ...] = ()
    summary: str = ""
    aspect: str | None = None
    confidence: float = 1.0
    extractor: str = ""

    @property
    def key(self) -> PointKey:
        """The point's identity in a file of points."""
        return PointKey(self.document_id, self.reviewer, self.point)


@dataclass(frozen=True)
class Match:
    """Two points of two feedbacks, with a similarity from 5 to 10 (the paper's scale) and whether the pair is kept.

    null: "real" (both on one document) or "shuffled" (b is on another document). chance: how often a point finds a shuffled
    point at least this similar, if the matcher knows it. matcher: who made it, with version and threshold.
    """

    document_id: str
    a_reviewer: str
    a_point: int
    b_document_id: str
    b_reviewer: str
    b_point: int
    similarity: float
    kept: bool
    null: str = "real"
    chance: float | None = None
    rationale: str = ""
    matcher: str = ""

    @property
    def a(self) -> PointKey:
        """The point on the left side."""
        return PointKey(self.document_id, self.a_reviewer, self.a_point)

    @property
    def b(self) -> PointKey:
        """The point on the right side."""
        return PointKey(self.b_document_id, self.b_reviewer, self.b_point)


@dataclass(frozen=True)
class SpanLabel:
    """A person's label of `text[start:end]` of one feedback: a concern or not, and its aspect.

    group: spans with one number (from 1) in one feedback are one point; 0 says nothing about grouping. kind: a finer label,
    such as "request", "criticism", "praise", "summary"; a classifier that learns kinds finds concerns better. Empty: not
    labeled.
    """

    document_id: str
    reviewer: str
    start: int
    end: int
    concern: bool
    aspect: str | None = None
    annotator: str = ""
    group: int = 0
    kind: str = ""


@dataclass(frozen=True)
class MatchLabel:
    """A person's (or another program's) judgement whether two points say the same."""

    document_id: str
    a_reviewer: str
    a_point: int
    b_reviewer: str
    b_point: int
    match: bool
    annotator: str = ""


Row = TypeVar("Row", Feedback, Point, Match, SpanLabel, MatchLabel)
Keyed = TypeVar("Keyed", Feedback, Point, SpanLabel)


def read_feedback(path: PathLike) -> list[Feedback]:
    """Feedback of a file (any kind of `core.read_table`). Raises UserError for an empty text, a repeated reviewer, an unknown
    source."""
    rows = _checked(path, Feedback, _feedback_problem)
    _unique(rows, lambda row: row.key, path, "this reviewer already has a feedback on this document: join the two texts")
    return rows


def read_points(path: PathLike, feedback: Sequence[Feedback] | None = None) -> list[Point]:
    """Points of a file. Raises UserError for empty words, a repeated number, a confidence outside 0 to 1.

    feedback: also for a point whose feedback is not there, or whose words or spans are not in its text.
    """
    texts = None if feedback is None else {row.key: row.text for row in feedback}
    rows = _checked(path, Point, lambda row: _point_problem(row) or (None if texts is None else _place_problem(row, texts)))
    _unique(rows, lambda row: row.key, path, "this number of a point is used twice: number the points of a feedback from 1")
    return rows


def read_matches(path: PathLike) -> list[Match]:
    """Matches of a file. Raises UserError for a similarity outside 5 to 10 or an unknown null."""
    return _checked(path, Match, _match_problem)


def read_labels(path: PathLike, aspects: Sequence[str] = (), feedback: Sequence[Feedback] | None = None) -> list[SpanLabel]:
    """Labels of spans. Raises UserError for a span that is none, or an aspect that is not one of `aspects` (if given).

    feedback: also for a label whose feedback is not there, or that ends behind its text.
    """
    texts = None if feedback is None else {row.key: row.text for row in feedback}

    def problem(row: SpanLabel) -> str | None:
        text = None if texts is None else texts.get((row.document_id, row.reviewer))
        if texts is not None and text is None:
            return f"there is no feedback of {row.reviewer} on {row.document_id}: give the file that was labeled"
        if text is not None and row.end > len(text):
            return f'"end" is {row.end}, and the text has {len(text)} characters: the labels were made on another text'
        if not 0 <= row.start < row.end:
            return f'"start" is {row.start} and "end" is {row.end}: start must be 0 or more and below end'
        if aspects and row.aspect is not None and row.aspect not in aspects:
            return f'the aspect "{row.aspect}" is unknown: use one of {", ".join(aspects)}, or leave it out'
        return None

    return _checked(path, SpanLabel, problem)


def read_match_labels(path: PathLike) -> list[MatchLabel]:
    """Labels of pairs of points."""
    return _checked(path, MatchLabel, lambda row: None)


def _feedback_problem(row: Feedback) -> str | None:
    if not row.text.strip():
        return 'the field "text" is empty: remove the row or give the feedback\'s text'
    if row.source not in SOURCES:
        return f'the source "{row.source}" is unknown: use {" or ".join(SOURCES)}'
    return None


def _point_problem(row: Point) -> str | None:
    if not row.verbatim.strip():
        return 'the field "verbatim" is empty: give the exact words of the point'
    if not 0 <= row.confidence <= 1:
        return f'the field "confidence" is {row.confidence}: give a number from 0 to 1'
    return None


def _place_problem(row: Point, texts: Mapping[tuple[str, str], str]) -> str | None:
    """What is wrong with where a point stands in its feedback."""
    text = texts.get((row.document_id, row.reviewer))
    if text is None:
        return f"there is no feedback of {row.reviewer} on {row.document_id}: give the file that the points were made from"
    if any(len(span) != 2 or not 0 <= span[0] < span[1] <= len(text) for span in row.spans):
        return f'"spans" must be pairs of start and end inside the text, which has {len(text)} characters'
    words = " ".join(row.verbatim.split())
    if (row.spans and joined(text, row.spans) == words) or find_quote(text, words) is not None:
        return None
    said = f'the words "{words[:60]}" of the point are not in the feedback of {row.reviewer} on {row.document_id}'
    return f'{said}: give the exact words in "verbatim", and your own in "summary"'


def _match_problem(row: Match) -> str | None:
    if not LOWEST_SIMILARITY <= row.similarity <= HIGHEST_SIMILARITY:
        return f'the field "similarity" is {row.similarity:g}: the scale goes from {LOWEST_SIMILARITY} to {HIGHEST_SIMILARITY}'
    if row.null not in NULLS:
        return f'the field "null" is "{row.null}": use {" or ".join(NULLS)}'
    return None


def _checked(path: PathLike, cls: type[Row], problem: Callable[[Row], str | None]) -> list[Row]:
    """Rows of a file, each without a problem."""
    rows = read_rows(path, cls)
    for number, row in enumerate(rows, 1):
        if (said := problem(row)) is not None:
            raise UserError(f"{path}, row {number}: {said}.")
    return rows


def _unique(rows: Sequence[Keyed], key: Callable[[Keyed], object], path: PathLike, said: str) -> None:
    """Raise UserError for the first row whose key an earlier row has."""
    first: dict[object, int] = {}
    for number, row in enumerate(rows, 1):
        before = first.setdefault(key(row), number)
        if before != number:
            raise UserError(f"{path}, row {number}: as in row {before}, {said}.")


def by_feedback(rows: Iterable[Keyed]) -> dict[tuple[str, str], list[Keyed]]:
    """Points, labels or feedback grouped by (document, reviewer), in their order."""
    found: dict[tuple[str, str], list[Keyed]] = defaultdict(list)
    for row in rows:
        found[row.document_id, row.reviewer].append(row)
    return dict(found)


def by_document(rows: Iterable[Keyed]) -> dict[str, list[Keyed]]:
    """Points, labels or feedback grouped by document, in their order."""
    found: dict[str, list[Keyed]] = defaultdict(list)
    for row in rows:
        found[row.document_id].append(row)
    return dict(found)
