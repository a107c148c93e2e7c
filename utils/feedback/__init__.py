"""Feedback compared with people's: points of each feedback, their matches, and the overlap beside its controls.

Liang et al. 2023 (arXiv 2310.01783). Part of it is offline (rules, a classifier, text similarity); part uses a language model.
"""

from __future__ import annotations

from utils.feedback.overlap import (
    METRICS,
    OverlapRow,
    SetOverlap,
    first_points,
    global_overlap,
    maximum_matching,
    mean_value,
    pairwise_overlap,
    set_overlap,
)
from utils.feedback.records import (
    Feedback,
    Match,
    MatchLabel,
    Point,
    PointKey,
    SpanLabel,
    by_document,
    by_feedback,
    read_feedback,
    read_labels,
    read_match_labels,
    read_matches,
    read_points,
)

__all__ = [
    "METRICS",
    "Feedback",
    "Match",
    "MatchLabel",
    "OverlapRow",
    "Point",
    "PointKey",
    "SetOverlap",
    "SpanLabel",
    "by_document",
    "by_feedback",
    "first_points",
    "global_overlap",
    "maximum_matching",
    "mean_value",
    "pairwise_overlap",
    "read_feedback",
    "read_labels",
    "read_match_labels",
    "read_matches",
    "read_points",
    "set_overlap",
]
