"""Small feedback for the tests of this room."""

from __future__ import annotations

import importlib.util
from functools import cache

from utils.core import main
from utils.core.runtime import ROOT
from utils.feedback import Feedback, Match, Point, SimulatedReviews, simulate_reviews


@cache
def simulated() -> SimulatedReviews:
    """Twenty simulated documents with three reviewers and one system each."""
    return simulate_reviews(20, seed=3)


def feedback(document: str, reviewer: str, text: str, source: str = "human", **more: str) -> Feedback:
    return Feedback(document, reviewer, text, source, **more)  # type: ignore[arg-type]


def points_of(row: Feedback, *texts: str) -> list[Point]:
    """A point for each text, which must stand in the feedback."""
    starts = [row.text.index(text) for text in texts]
    return [
        Point(row.document_id, row.reviewer, i, text, ((a, a + len(text)),))
        for i, (a, text) in enumerate(zip(starts, texts, strict=True), 1)
    ]


def matched(a: Point, b: Point, null: str = "real", similarity: float = 8) -> Match:
    return Match(
        a.document_id, a.reviewer, a.point, b.document_id, b.reviewer, b.point, similarity, similarity >= 7, null
    )  # fmt: skip


def run_stages(*arguments: str) -> int:
    """scripts/feedback.py with these arguments, in this process."""
    spec = importlib.util.spec_from_file_location("script_feedback", ROOT / "scripts" / "feedback.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return main(module.run, arguments)
